// Every word of the page, in Korean and English.
const WORDS = {
  ko: {
    skip: "질문으로 건너뛰기", documents: "문서", close: "닫기", newChat: "새 대화", settings: "설정",
    dropTitle: "문서 추가", dropHint: "끌어다 놓거나 눌러서 고르기 · {kinds} · {size}까지", dropHere: "여기에 놓으면 문서가 추가됩니다",
    filter: "문서 찾기", welcome: "문서에 물어보세요", welcomeMore: "답마다 근거가 된 문장과 쪽을 함께 보여 드립니다.",
    step1: "문서를 올립니다", step1More: "왼쪽 문서함에 끌어다 놓으면 바로 색인합니다.",
    step2: "질문합니다", step2More: "한국어와 영어로 묻고, 이어서 물을 수도 있습니다.",
    step3: "근거를 확인합니다", step3More: "답 속의 번호를 누르면 원문과 쪽이 열립니다.",
    ask: "문서에 대해 물어보세요", enterHint: "Enter 보내기 · Shift+Enter 줄 바꿈", send: "보내기", stop: "멈추기",
    fine: "답은 올린 문서만 근거로 합니다. 중요한 내용은 근거를 확인하세요.", conversation: "대화",
    searching: "문서를 찾는 중", found: "문단 {n}개를 찾아 답하는 중", sources: "근거", others: "함께 찾은 문단 {n}개",
    page: "{n}쪽", openSource: "근거 {n} 열기: {file}", copy: "복사", copied: "복사했습니다", answered: "답이 왔습니다.",
    mode_generate: "생성", mode_extract: "원문 인용", mode_unknown: "답 없음", mode_chitchat: "인사", mode_blocked: "막음", mode_auto: "자동",
    retrieve_hybrid: "하이브리드", "retrieve_hybrid-rrf": "하이브리드(순위)", retrieve_dense: "의미", retrieve_bm25: "낱말",
    extracted: "문서의 문장을 그대로 옮긴 답입니다.", attributed: "모델이 근거를 밝히지 않아, 답과 가장 가까운 문단을 근거로 찾았습니다.",
    invented: "없는 문단을 가리킨 인용 {n}개를 지웠습니다.", withdrawn: "쓰던 글을 거두어들이고 이 답으로 바꾸었습니다.", cached: "저장된 답", stopped: "멈췄습니다.",
    time_retrieve: "검색 {s}초", time_generate: "생성 {s}초", tokens: "{n}토큰",
    failed: "답하지 못했습니다", foundAnyway: "찾은 문단은 아래에 있습니다.", retry: "다시 시도", unreachable: "서버에 연결할 수 없습니다.",
    model_unavailable: "모델 서버가 응답하지 않습니다. 잠시 뒤에 다시 시도하세요.", too_many_requests: "지금 질문이 많습니다. 잠시 뒤에 다시 시도하세요.",
    no_index: "아직 색인한 문서가 없습니다. 먼저 문서를 올리세요.", limit_exceeded: "질문이 너무 깁니다.",
    documentCount: "{n}개", noDocuments: "아직 문서가 없습니다.", noMatch: "맞는 문서가 없습니다.", passages: "문단 {n}개",
    remove: "{name} 삭제", removeTitle: "문서를 삭제할까요?", removeUpload: "'{name}'을(를) 색인에서 빼고 파일도 지웁니다.",
    removeOther: "'{name}'을(를) 색인에서 뺍니다. 원본 파일은 그대로 둡니다.", cancel: "취소", confirm: "삭제", openFile: "{name} 열기",
    uploading: "올리는 중 {n}%", queued: "차례를 기다리는 중", starting: "준비하는 중", waiting: "다른 색인 작업을 기다리는 중", reading: "읽는 중 {done}/{total}",
    embedding: "색인하는 중 {done}/{total}", swapping: "새 색인으로 바꾸는 중", removing: "삭제하는 중", done: "추가했습니다", removed: "삭제했습니다", jobFailed: "실패: {problem}", notRead: "{name}: {kind} — 글을 읽을 수 없는 형식입니다.",
    tooLarge: "{name}: {size}보다 큽니다.", wrongKind: "{name}: 읽을 수 없는 종류입니다.", many: "{name} 외 {n}개",
    ready: "{model} · 문단 {n}개", noModel: "모델 서버 없음", offline: "서버에 연결할 수 없음",
    language: "언어", theme: "화면", theme_auto: "자동", theme_light: "밝게", theme_dark: "어둡게",
    answerMode: "답하는 방식", help_auto: "모델이 질문의 언어를 쓸 수 있으면 생성하고, 아니면 원문을 인용합니다.",
    help_generate: "언제나 모델이 문장을 만듭니다.", help_extract: "문서의 문장을 그대로 옮깁니다.",
    retrieveMode: "찾는 방식", help_hybrid: "의미와 낱말을 함께 봅니다.", "help_hybrid-rrf": "의미와 낱말에서 나온 순위를 합칩니다.", help_dense: "뜻이 가까운 문단을 찾습니다.", help_bm25: "같은 낱말이 있는 문단을 찾습니다.",
    topK: "찾을 문단 수", passageTitle: "원문", openPdf: "PDF {n}쪽 열기", download: "원본 내려받기", similarity: "유사도 {s}",
    keyTitle: "키가 필요합니다", keyHelp: "이 서버는 키를 묻습니다. 키는 이 탭을 닫으면 지워집니다.", keyWrong: "맞지 않는 키입니다.", key: "키", keyUse: "사용하기", keyForget: "키 지우기",
    model: "모델", generation: "색인", problem: "문제",
  },
  en: {
    skip: "Skip to the question", documents: "Documents", close: "Close", newChat: "New chat", settings: "Settings",
    dropTitle: "Add documents", dropHint: "Drop them here, or click to choose · {kinds} · up to {size}", dropHere: "Drop to add to your documents",
    filter: "Find a document", welcome: "Ask your documents", welcomeMore: "Every answer comes with the passages and pages it rests on.",
    step1: "Add documents", step1More: "Drop files into the panel on the left; they are indexed at once.",
    step2: "Ask", step2More: "In English or Korean, and follow up as you like.",
    step3: "Check the sources", step3More: "A number in the answer opens the passage and its page.",
    ask: "Ask about your documents", enterHint: "Enter to send · Shift+Enter for a new line", send: "Send", stop: "Stop",
    fine: "Answers rest on your documents only. Check the sources where it matters.", conversation: "Conversation",
    searching: "Searching the documents", found: "Answering from {n} passages", sources: "Sources", others: "{n} more passages found",
    page: "p. {n}", openSource: "Open source {n}: {file}", copy: "Copy", copied: "Copied", answered: "The answer is here.",
    mode_generate: "generated", mode_extract: "quoted", mode_unknown: "no answer", mode_chitchat: "small talk", mode_blocked: "blocked", mode_auto: "Auto",
    retrieve_hybrid: "Hybrid", "retrieve_hybrid-rrf": "Hybrid by rank", retrieve_dense: "Meaning", retrieve_bm25: "Words",
    extracted: "Quoted from the documents word for word.", attributed: "The model named no source; the closest passage was found by comparison.",
    invented: "{n} citation(s) of passages that do not exist were removed.", withdrawn: "What was being written was withdrawn and replaced by this.", cached: "from the cache", stopped: "Stopped.",
    time_retrieve: "search {s} s", time_generate: "generation {s} s", tokens: "{n} tokens",
    failed: "No answer", foundAnyway: "These passages were found.", retry: "Try again", unreachable: "The server cannot be reached.",
    model_unavailable: "The model server does not answer. Try again in a moment.", too_many_requests: "Too many questions right now. Try again in a moment.",
    no_index: "Nothing is indexed yet. Add a document first.", limit_exceeded: "The question is too long.",
    documentCount: "{n}", noDocuments: "No documents yet.", noMatch: "No document matches.", passages: "{n} passages",
    remove: "Delete {name}", removeTitle: "Delete this document?", removeUpload: "“{name}” leaves the index, and its file is deleted.",
    removeOther: "“{name}” leaves the index. The original file stays.", cancel: "Cancel", confirm: "Delete", openFile: "Open {name}",
    uploading: "Uploading {n}%", queued: "Waiting its turn", starting: "Starting", waiting: "Waiting for another indexing run", reading: "Reading {done}/{total}",
    embedding: "Indexing {done}/{total}", swapping: "Switching to the new index", removing: "Deleting", done: "Added", removed: "Deleted", jobFailed: "Failed: {problem}", notRead: "{name}: {kind}, of which no text is read.",
    tooLarge: "{name}: larger than {size}.", wrongKind: "{name}: this kind is not read.", many: "{name} and {n} more",
    ready: "{model} · {n} passages", noModel: "no model server", offline: "server not reachable",
    language: "Language", theme: "Appearance", theme_auto: "System", theme_light: "Light", theme_dark: "Dark",
    answerMode: "Answers", help_auto: "Generated where the model writes the question's language, quoted otherwise.",
    help_generate: "The model always writes the answer.", help_extract: "Sentences of the documents, word for word.",
    retrieveMode: "Search", help_hybrid: "Meaning and words together.", "help_hybrid-rrf": "The ranks by meaning and by words, merged.", help_dense: "Passages close in meaning.", help_bm25: "Passages that share words.",
    topK: "Passages to find", passageTitle: "Passage", openPdf: "Open the PDF at page {n}", download: "Download the original", similarity: "similarity {s}",
    keyTitle: "A key is needed", keyHelp: "This server asks for a key. It is forgotten when this tab closes.", keyWrong: "That key is not known here.", key: "Key", keyUse: "Use it", keyForget: "Forget the key",
    model: "Model", generation: "Index", problem: "Problem",
  },
};

let language = "en";

export const languages = Object.keys(WORDS);
export const currentLanguage = () => language;

export function t(name, values = {}) {
  const words = WORDS[language][name];
  if (words === undefined) throw new Error(`no words for ${name}`);
  return words.replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

export const has = (name) => WORDS[language][name] !== undefined;

export function setLanguage(wanted) {
  language = languages.includes(wanted) ? wanted : "en";
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  for (const element of document.querySelectorAll("[data-title]")) {
    element.title = t(element.dataset.title);
    element.setAttribute("aria-label", t(element.dataset.title));
  }
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${number(size, size < 10 && unit > 0 ? 1 : 0)} ${units[unit]}`;
}
