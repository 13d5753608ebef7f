/**
 * How the objects of this package look where people print and log them: `console.log` and its like show facts, never what is
 * inside, and `JSON.stringify` works. Numbers of 64 bits are decimal texts in JSON, whose readers have doubles.
 */

/** Of node:util, without the import. */
const inspectSymbol = Symbol.for('nodejs.util.inspect.custom')

type Inspect = (value: unknown, options: object) => string

/** Gives a class its printed form and its JSON: the facts of an object by their names. */
export function printsAs<T extends object>(type: { readonly prototype: T }, factsOf: (self: T) => object): void {
  const facts = (self: T): object => {
    try {
      return factsOf(self)
    } catch {
      // It is the prototype, or not whole yet. Printing never throws.
      return {}
    }
  }
  define(type.prototype, 'toJSON', function toJSON(this: T): unknown {
    return jsonForm(facts(this))
  })
  define(
    type.prototype,
    inspectSymbol,
    function inspect(this: T, depth: number | null, options: object, inspected?: Inspect): unknown {
      const name = className(this)
      if (depth !== null && depth < 0) return `[${name}]`
      if (inspected === undefined) return facts(this)
      return `${name} ${inspected(facts(this), { ...options, depth: depth === null ? null : Math.max(0, depth - 1) })}`
    },
  )
}

/** The type of an event, and what it tells besides. */
export function eventFacts({ type, ...facts }: Event): object {
  const told = Object.entries(facts).filter(([key, value]) => key !== 'isTrusted' && value !== undefined)
  return { type, ...Object.fromEntries(told) }
}

/** The same for a class of errors: its stack, and what else it has. */
export function printsError<T extends Error>(type: { readonly prototype: T }): void {
  const rest = ({ name: _, message: __, stack: ___, ...facts }: T) => facts
  define(type.prototype, 'toJSON', function toJSON(this: T): unknown {
    const { name, message, cause } = this
    return jsonForm({ name, message, ...rest(this), ...(cause === undefined ? {} : { cause }) })
  })
  define(
    type.prototype,
    inspectSymbol,
    function inspect(this: T, depth: number | null, options: object, inspected?: Inspect): unknown {
      const { name, message, stack, cause } = this
      if (inspected === undefined || (depth !== null && depth < 0)) return `[${name}: ${message}]`
      const facts = { ...rest(this), ...(cause === undefined ? {} : { cause }) }
      return `${stack ?? `${name}: ${message}`} ${inspected(facts, { ...options, depth: depth === null ? null : Math.max(0, depth - 1) })}`
    },
  )
}

/** An answer or description, made so that it can be written as JSON: bigints become texts. It stays a plain object. */
export function loggable<T extends object>(facts: T): T {
  return define(facts, 'toJSON', factsToJson)
}

function factsToJson(this: object): unknown {
  return jsonForm({ ...this })
}

/**
 * The value as JSON can carry it: bigints as texts, errors with their names and codes, of memory no more than its length, and
 * nothing twice around. Objects with a toJSON of their own are theirs to write.
 */
export function jsonForm(value: unknown, around: readonly unknown[] = []): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (around.includes(value)) return '[circular]'
  try {
    return jsonOfObject(value, around)
  } catch {
    // A getter that throws, or a proxy that was revoked: of the caller's, in the cause of an error. Writing it down never throws.
    return '[unreadable]'
  }
}

function jsonOfObject(value: object, around: readonly unknown[]): unknown {
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  const inside = [...around, value]
  if (around.length > 0 && typeof (value as { toJSON?: unknown }).toJSON === 'function') return value
  if (Array.isArray(value)) return value.map((item) => jsonForm(item, inside))
  if (value instanceof Error) return jsonForm(errorFacts(value), inside)
  if (value instanceof Map) return jsonForm(Object.fromEntries(value), inside)
  if (value instanceof Set) return jsonForm([...value], inside)
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonForm(item, inside)]))
}

function errorFacts(error: Error): object {
  const { name, message, cause } = error
  const { code } = error as { code?: unknown }
  return {
    name,
    message,
    ...(code === undefined ? {} : { code }),
    ...(cause === undefined ? {} : { cause }),
  }
}

function className(self: object): string {
  const { name } = self.constructor
  return typeof name === 'string' && name !== '' ? name : 'Object'
}

function define<T extends object>(target: T, key: string | symbol, value: unknown): T {
  return Object.defineProperty(target, key, { value, configurable: true, writable: true })
}

/** Bytes that nobody may see who prints, logs, clones or compares what holds them. */
export class Secret {
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** For the one who has to send them. */
  reveal(): Uint8Array {
    return this.#bytes
  }

  toJSON(): string {
    return '[secret]'
  }

  toString(): string {
    return '[secret]'
  }

  [inspectSymbol](): string {
    return '[secret]'
  }
}
