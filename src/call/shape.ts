/**
 * Objects of options. What a call takes is written down once, as a table of its fields that the compiler holds against the type
 * of the options: a field that is in the one and not in the other does not compile. A call takes what is in the table; another
 * key is a mistake, most often a misspelt one, and is refused.
 */
import { CheckpointError } from '../errors.js'
import { type Check, invalid, kindOf, show } from './check.js'

interface Needed<T> {
  readonly needed: Check<T>
}

type Fields<T extends object> = {
  readonly [K in keyof T]-?: Record<never, never> extends Pick<T, K> ? Check<Exclude<T[K], undefined>> : Needed<T[K]>
}

export interface Shape<T extends object> {
  readonly fields: readonly (readonly [key: string, check: Check<unknown>, needed: boolean])[]
  readonly keys: ReadonlySet<string>
  /** Never there; it ties the shape to its type. */
  readonly of?: T
}

export function shape<T extends object>(fields: Fields<T>): Shape<T> {
  const entries = Object.entries(fields) as [string, Check<unknown> | Needed<unknown>][]
  return {
    fields: entries.map(([key, field]) =>
      typeof field === 'function' ? ([key, field, false] as const) : ([key, field.needed, true] as const),
    ),
    keys: new Set(entries.map(([key]) => key)),
  }
}

/** A field that has to be given. */
export function needed<T>(check: Check<T>): Needed<T> {
  return { needed: check }
}

/** A field that is an object of options itself. */
export function nested<T extends object>(of: Shape<T>): Check<T> {
  return (value, what) => take(of, value, what)
}

const nothing: Readonly<Record<string, never>> = Object.freeze({})

/**
 * The options as a new object that has only what was given; each field was read once, so that what was checked is what is used.
 * @param what names the object where it is a part of other options
 * @throws CheckpointError `INVALID_ARGUMENT`
 */
export function take<T extends object>(of: Shape<T>, value: unknown, what = ''): T {
  if (value === undefined && !of.fields.some(([, , isNeeded]) => isNeeded)) return nothing as T
  const given = asOptions(value, what)
  const within = what === '' ? '' : `${what}.`
  const taken: Record<string, unknown> = {}
  try {
    for (const key of enumerableKeys(given)) {
      if (typeof key === 'symbol' || !of.keys.has(key)) throw unknownKey(of, key, within)
    }
    for (const [key, check, isNeeded] of of.fields) {
      const item = given[key]
      if (item !== undefined) taken[key] = check(item, within + key)
      else if (isNeeded) throw invalid(`${within}${key} is missing.`)
    }
  } catch (error) {
    if (error instanceof CheckpointError) throw error
    throw invalid(`${what || 'The options'} cannot be read.`, undefined, error)
  }
  return taken as T
}

/** @throws CheckpointError `INVALID_ARGUMENT` */
export function asOptions(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null) {
    try {
      // Not a signal, a map or an array, say, which have no keys of ours and would be taken for no options at all.
      if (Object.prototype.toString.call(value) === '[object Object]') return value as Record<string, unknown>
    } catch {
      // A proxy that was revoked.
    }
  }
  throw invalid(`${what || 'The options'} must be an object; ${what ? 'it is' : 'they are'} ${show(value)}.`)
}

/** A record of texts, such as labels. */
export function textRecord(value: unknown, what: string): Record<string, string> {
  const given = asOptions(value, what)
  const taken: [string, string][] = []
  try {
    for (const key of enumerableKeys(given)) {
      if (typeof key === 'symbol') throw invalid(`${what} must have strings for keys; it has ${String(key)}.`)
      const item = given[key]
      if (typeof item !== 'string') throw invalid(`${what}.${key} must be a string; it is ${show(item)}.`)
      if (!item.isWellFormed() || !key.isWellFormed()) {
        throw invalid(`${what}: ${show(key)} must be well-formed Unicode; it has a lone surrogate.`)
      }
      taken.push([key, item])
    }
  } catch (error) {
    if (error instanceof CheckpointError) throw error
    throw invalid(`${what} cannot be read.`, undefined, error)
  }
  return Object.fromEntries(taken)
}

/** A list, as a new array. */
export function listOf<T>(check: Check<T>): Check<T[]> {
  return (value, what) => {
    const items = asList(value, what)
    return items.map((item, index) => check(item, `${what}[${index}]`))
  }
}

/** Whether it is for {@link asList} to take, or to refuse: also a proxy of an array that was revoked. */
export function isList(value: unknown): boolean {
  try {
    return Array.isArray(value)
  } catch {
    return true
  }
}

/** @throws CheckpointError `INVALID_ARGUMENT` for what is no array, or cannot be read */
export function asList(value: unknown, what: string): unknown[] {
  try {
    // Holes become undefined, which every check refuses.
    if (Array.isArray(value)) return Array.from(value as unknown[])
  } catch (error) {
    throw invalid(`${what} cannot be read.`, undefined, error)
  }
  throw invalid(`${what} must be an array; it is ${kindOf(value)}.`)
}

/** What a spread copies: symbols as well as strings. */
function enumerableKeys(given: object): (string | symbol)[] {
  const symbols = Object.getOwnPropertySymbols(given)
  return [...Object.keys(given), ...symbols.filter((key) => Object.prototype.propertyIsEnumerable.call(given, key))]
}

function unknownKey(of: Shape<object>, key: string | symbol, within: string): CheckpointError {
  const known = [...of.keys]
  const near = typeof key === 'symbol' ? undefined : nearest(key, known)
  const shown = typeof key === 'symbol' ? within + String(key) : show(within + key)
  const meant = near === undefined ? '.' : `; did you mean ${within}${near}?`
  return invalid(`There is no option ${shown}${meant} The options are: ${known.join(', ')}.`)
}

/** Within a third of its letters, whatever their case. */
function nearest(key: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.max(1, Math.floor(key.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(key.slice(0, 64).toLowerCase(), candidate.toLowerCase())
    if (distance < least) {
      best = candidate
      least = distance
    }
  }
  return best
}

function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, i) => i)
  for (const [i, letter] of [...one].entries()) {
    const next = [i + 1]
    for (let j = 0; j < other.length; j++) {
      const change = (row[j] ?? 0) + (letter === other[j] ? 0 : 1)
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[other.length] ?? 0
}
