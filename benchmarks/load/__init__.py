"""When requests are sent: closed loops, open loops, replayed traces, sweeps. Pure: seeds in, times out."""
