// claims.mjs -- tests of the guest's scripts, printed as the native tests print theirs: `ok NAME` or `not ok NAME: why`.

let failed = 0

/** What a claim may be told with: bigints as numbers. */
export const text = (value) => JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part))

/** Holds when `work` does not throw. */
export async function claim(name, work) {
  try {
    await work()
    console.log(`ok ${name}`)
  } catch (error) {
    failed++
    console.log(`not ok ${name}: ${error?.stack ?? error}`)
  }
}

/** @param what what was seen, when it does not hold */
export function check(holds, what) {
  if (!holds) throw what instanceof Error ? what : new Error(typeof what === 'string' ? what : text(what))
}

/** For process.exit. */
export const exitCode = () => (failed === 0 ? 0 : 1)
