// Which sentence of a passage an answer leans on: the one that shares the most of its letter pairs with it.
const LEAST = 0.34;

function pairs(text) {
  const letters = text.toLowerCase().replace(/\[\d+\]/g, "").replace(/[^\p{L}\p{N}]+/gu, "");
  const found = new Set();
  for (let index = 0; index + 1 < letters.length; index += 1) found.add(letters.slice(index, index + 2));
  return found;
}

// Returns { start, end } in `text`, or null when no sentence is close to `answer`.
export function closestSentence(text, answer) {
  if (!answer) return null;
  const wanted = pairs(answer);
  let best = null;
  let most = LEAST;
  for (const match of text.matchAll(/[^.!?。\n]+(?:[.!?。](?!\s|$)[^.!?。\n]*)*[.!?。]?/gu)) {
    const own = pairs(match[0]);
    if (own.size < 6) continue;
    let shared = 0;
    for (const pair of own) shared += wanted.has(pair) ? 1 : 0;
    const share = shared / own.size;
    if (share > most) {
      most = share;
      const lead = match[0].length - match[0].trimStart().length;
      best = { start: match.index + lead, end: match.index + match[0].length };
    }
  }
  return best;
}
