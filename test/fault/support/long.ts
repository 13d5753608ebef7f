// How much of a random test runs, and the seed it runs with.

/** The full count with RC_LONG=1 (npm run test:long), the small one otherwise, and a third of that with RC_QUICK=1. */
export function rounds(counts: { long: number; ci: number }): number {
  if (process.env.RC_LONG === '1') return counts.long
  return process.env.RC_QUICK === '1' ? Math.ceil(counts.ci / 3) : counts.ci
}

/** RC_SEED repeats an earlier run; the seed is printed so that there is one to repeat. */
export function seedOf(test: string): number {
  const seed = process.env.RC_SEED === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(process.env.RC_SEED)
  console.log(`${test}: seed ${seed} (repeat with RC_SEED=${seed})`)
  return seed
}
