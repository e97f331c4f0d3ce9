// Rates of the last seconds, from counts that only grow.

const WINDOW = 10;

export class Rates {
  #samples = new Map();
  #bounds = [];

  // Take in the counts of one answer: `now` in seconds, [key, calls] pairs.
  add(now, bounds, entries) {
    this.#bounds = bounds;
    const seen = new Set();
    for (const [key, calls] of entries) {
      seen.add(key);
      let samples = this.#samples.get(key);
      if (!samples) this.#samples.set(key, (samples = []));
      // The counting began anew: what was before says nothing any more.
      if (samples.length && calls.requests < samples[samples.length - 1].calls.requests) samples.length = 0;
      samples.push({ now, calls });
      while (samples.length > 2 && now - samples[1].now >= WINDOW) samples.shift();
    }
    for (const key of this.#samples.keys()) if (!seen.has(key)) this.#samples.delete(key);
  }

  // Figures of all keys together: rate (1/s), failed and rejected (0–1), retries (1/s), p50 and p95 (ms, null: no calls).
  of(keys) {
    let rate = 0, failed = 0, rejected = 0, retries = 0, total = 0;
    let requests = 0, failures = 0;
    const latency = new Array(this.#bounds.length + 1).fill(0);
    for (const key of keys) {
      const samples = this.#samples.get(key);
      if (!samples) continue;
      const last = samples[samples.length - 1], first = samples[0];
      requests += last.calls.requests;
      failures += last.calls.failed;
      const seconds = last.now - first.now;
      if (seconds <= 0) continue;
      const count = last.calls.requests - first.calls.requests;
      rate += count / seconds;
      total += count;
      failed += last.calls.failed - first.calls.failed;
      rejected += last.calls.rejected - first.calls.rejected;
      retries += (last.calls.retries - first.calls.retries) / seconds;
      last.calls.latency.forEach((value, place) => { latency[place] += value - first.calls.latency[place]; });
    }
    return {
      requests, failures, rate, retries,
      failed: total ? failed / total : 0,
      rejected: total ? rejected / total : 0,
      p50: this.#quantile(latency, total, 0.5),
      p95: this.#quantile(latency, total, 0.95),
    };
  }

  // Interpolated within its range, as Prometheus does.
  #quantile(latency, total, share) {
    if (!total) return null;
    let left = share * total, low = 0;
    for (let place = 0; place < latency.length; place += 1) {
      const high = this.#bounds[place] ?? low * 2;
      if (left <= latency[place]) return low + (high - low) * (left / latency[place]);
      left -= latency[place];
      low = high;
    }
    return low;
  }
}

export function health(figures) {
  if (figures.rate <= 0) return "idle";
  if (figures.failed >= 0.05) return "bad";
  return figures.failed > 0 ? "warn" : "good";
}
