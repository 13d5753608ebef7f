/**
 * What of a value JSON would change or leave out in silence. `JSON.stringify` makes null of NaN and of a hole in an array, {} of
 * a Map, and nothing of a function; a state that was saved so is not the state that is read.
 */

export interface Unfit {
  /** Keys from the value on, the innermost first: that is the order in which the search comes back. */
  readonly path: (string | number)[]
  readonly what: string
  /** So many of the outermost keys say it. */
  readonly enough?: number
}

/** Beyond it an object is looked for among those around it; before, most states have ended. */
const watchedDepth = 64

/** The first part of the value that JSON has no form for, if there is one. */
export function findUnfit(value: unknown): Unfit | undefined {
  const around: object[] = []

  function search(item: unknown): Unfit | undefined {
    switch (typeof item) {
      case 'string':
      case 'boolean':
        return undefined
      case 'number':
        return Number.isFinite(item) ? undefined : unfit(String(item))
      case 'object':
        return item === null ? undefined : searchObject(item)
      case 'bigint': {
        // An application may have given them a form.
        const form = formOf(item)
        return form === undefined ? unfit('a bigint') : search(form.call(item))
      }
      default:
        return unfit(typeof item === 'undefined' ? 'undefined' : `a ${typeof item}`)
    }
  }

  function searchObject(item: object): Unfit | undefined {
    // A typed array is no plain list, whatever form Buffer has for itself.
    if (ArrayBuffer.isView(item)) return unfit(kindOf(item))
    if (around.length >= watchedDepth && around.includes(item)) return circle(around)
    const form = formOf(item)
    around.push(item)
    let found: Unfit | undefined
    if (form !== undefined) {
      found =
        item instanceof Date && Number.isNaN(item.getTime()) ? unfit('an invalid Date') : searchForm(form.call(item))
    } else if (Array.isArray(item)) found = searchList(item)
    else found = isPlain(item) ? searchFields(item as Record<string, unknown>) : unfit(kindOf(item))
    around.pop()
    return found
  }

  /** What toJSON() returned is written as it is, without another toJSON(). */
  function searchForm(item: unknown): Unfit | undefined {
    if (typeof item !== 'object' || item === null) return search(item)
    if (Array.isArray(item)) return searchList(item)
    return isPlain(item) ? searchFields(item as Record<string, unknown>) : unfit(kindOf(item))
  }

  function searchList(list: readonly unknown[]): Unfit | undefined {
    for (let i = 0; i < list.length; i++) {
      const found = search(list[i])
      if (found !== undefined) {
        found.path.push(i)
        return found
      }
    }
    return undefined
  }

  function searchFields(fields: Record<string, unknown>): Unfit | undefined {
    for (const key of Object.keys(fields)) {
      const item = fields[key]
      // Left out, and undefined again when it is read.
      if (item === undefined) continue
      const found = search(item)
      if (found !== undefined) {
        found.path.push(key)
        return found
      }
    }
    if (Object.getOwnPropertySymbols(fields).length === 0) return undefined
    const symbol = Object.getOwnPropertySymbols(fields).find(
      (key) => Object.getOwnPropertyDescriptor(fields, key)?.enumerable,
    )
    return symbol === undefined ? undefined : { path: [String(symbol)], what: 'a property named by a symbol' }
  }

  return search(value)
}

/** "orders[3].price"; empty for the value itself. */
export function pathOf({ path, enough }: Unfit): string {
  let text = ''
  for (const key of path.slice().reverse().slice(0, enough)) {
    if (typeof key === 'number') text += `[${key}]`
    else if (/^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(key)) text += text === '' ? key : `.${key}`
    else text += `[${JSON.stringify(key)}]`
    if (text.length > longestPath) return `${text.slice(0, longestPath)}...`
  }
  return text
}

const longestPath = 200

/** @param around a chain of objects in which one turns up again */
function circle(around: readonly object[]): Unfit {
  const seen = new Set<object>()
  const enough = around.findIndex((item) => seen.size === seen.add(item).size)
  return { path: [], what: 'a circle: it is within itself', ...(enough < 0 ? {} : { enough }) }
}

function unfit(what: string): Unfit {
  return { path: [], what }
}

function formOf(item: unknown): (() => unknown) | undefined {
  const form = (item as { toJSON?: unknown }).toJSON
  return typeof form === 'function' ? (form as () => unknown) : undefined
}

/** Made by a literal, or JSON.parse, here or in another realm: what is read back is of the same kind. */
function isPlain(item: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(item)
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null
}

function kindOf(item: object): string {
  const tag = Object.prototype.toString.call(item).slice(8, -1)
  const { name } = item.constructor ?? {}
  return tag === 'Object' && typeof name === 'string' && name !== '' ? `an object of class ${name}` : `a ${tag}`
}
