// Ranks as numbers: {A: 1, B: 1, C: 3}. 1 is best, equal numbers are equals, gaps are closed when it is submitted.

/** The letters of each rank 1..k, empty ranks too. */
export function tiers(ranks, k) {
  const found = Array.from({ length: k }, () => []);
  for (const letter of Object.keys(ranks).sort()) found[ranks[letter] - 1]?.push(letter);
  return found;
}

export function fromTiers(tiers) {
  const found = {};
  tiers.forEach((letters, i) => letters.forEach((letter) => (found[letter] = i + 1)));
  return found;
}

/** With `letter` in `rank`, or in none. Where there are no ties, the others make room. */
export function placed(ranks, letter, rank, { ties, k }) {
  const found = { ...ranks };
  delete found[letter];
  if (rank === null) return found;
  if (!ties) makeRoom(found, rank, k);
  found[letter] = rank;
  return found;
}

function makeRoom(ranks, rank, k) {
  const taken = new Set(Object.values(ranks));
  if (!taken.has(rank)) return;
  let gap = rank;
  while (gap <= k && taken.has(gap)) gap += 1;
  const down = gap <= k;
  if (!down) for (gap = rank; gap >= 1 && taken.has(gap); ) gap -= 1;
  for (const letter of Object.keys(ranks)) {
    if (down && ranks[letter] >= rank && ranks[letter] < gap) ranks[letter] += 1;
    if (!down && ranks[letter] <= rank && ranks[letter] > gap) ranks[letter] -= 1;
  }
}

/** The order that the ratings say, the same rating in the same rank. */
export function byRatings(ratings, letters) {
  const steps = [...new Set(letters.map((letter) => ratings[letter]))].sort((a, b) => b - a);
  return Object.fromEntries(letters.map((letter) => [letter, steps.indexOf(ratings[letter]) + 1]));
}

/** Pairs of which ratings and ranks say opposite things, as sentences. */
export function contradictions(ratings, ranks) {
  const letters = Object.keys(ranks).filter((letter) => ratings[letter]).sort();
  const said = [];
  for (const better of letters) {
    for (const worse of letters) {
      if (ratings[better] > ratings[worse] && ranks[better] > ranks[worse]) {
        said.push(`${better} is rated higher than ${worse}, but ranked below it`);
      }
    }
  }
  return said;
}
