import { expect, test, vi } from 'vitest'
import { decodeWith, encodeWith, json, raw, v8Codec } from '../../src/checkpoint/codec.js'

const refused = (message: RegExp) =>
  expect.objectContaining({ code: 'INVALID_ARGUMENT', outcome: 'none', message: expect.stringMatching(message) })

class Order {
  id = 1
}

test('json refuses what JSON would change or drop, and names its path', () => {
  const cases: [unknown, RegExp][] = [
    [{ orders: [{ price: Number.NaN }] }, /for orders\[0\]\.price, which is NaN/],
    [{ a: { 'b c': Number.NEGATIVE_INFINITY } }, /for a\["b c"\], which is -Infinity/],
    [{ seen: new Map([[1, 2]]) }, /for seen, which is a Map/],
    [{ seen: new Set([1]) }, /a Set/],
    [{ seen: new WeakMap() }, /a WeakMap/],
    [{ bytes: new Uint8Array(2) }, /for bytes, which is a Uint8Array/],
    [{ bytes: Buffer.from('a') }, /for bytes, which is a Uint8Array/],
    [{ bytes: new ArrayBuffer(2) }, /an? ArrayBuffer/],
    [[1, undefined, 3], /for \[1\], which is undefined/],
    [new Array(2), /for \[0\], which is undefined/],
    [undefined, /for the value, which is undefined/],
    [() => 1, /a function/],
    [{ f() {} }, /for f, which is a function/],
    [{ s: Symbol('a') }, /a symbol/],
    [{ [Symbol('key')]: 1 }, /a property named by a symbol/],
    [{ big: 1n }, /for big, which is a bigint/],
    [{ order: new Order() }, /for order, which is an object of class Order/],
    [{ error: new Error('a') }, /for error/],
    [{ pattern: /a/ }, /a RegExp/],
    [{ later: Promise.resolve() }, /a Promise/],
    [{ number: new Number(1) }, /a Number/],
    [{ at: new Date(Number.NaN) }, /for at, which is an invalid Date/],
    [{ mine: { toJSON: () => Number.NaN } }, /for mine, which is NaN/],
    [{ mine: { toJSON: () => ({ deep: [1n] }) } }, /for mine\.deep\[0\], which is a bigint/],
    [{ mine: { toJSON: () => new Date(0) } }, /for mine, which is/],
    [Object.create({ inherited: 1 }), /for the value/],
  ]
  for (const [value, message] of cases) expect(() => json.encode(value)).toThrow(refused(message))
})

test('json names where a circle closes, and takes what is deep or used twice', () => {
  const tree: Record<string, unknown> = { name: 'root', children: [{ name: 'leaf' }] }
  ;(tree.children as Record<string, unknown>[])[0]!.parent = tree
  expect(() => json.encode({ tree })).toThrow(refused(/for tree\.children\[0\]\.parent, which is a circle/))
  let deep: unknown = 1
  for (let i = 0; i < 1000; i++) deep = { deep }
  expect(json.decode(json.encode(deep) as Uint8Array, 0)).toEqual(deep)
  for (let i = 0; i < 100_000; i++) deep = [deep]
  expect(() => json.encode(deep)).toThrow(refused(/cannot be written as JSON/))
  const shared = { a: 1 }
  expect(json.decode(json.encode([shared, shared]) as Uint8Array, 0)).toEqual([{ a: 1 }, { a: 1 }])
})

test('what json takes comes back equal, and what has a form of its own comes back in that', () => {
  const state = {
    text: 'ä\u2028\ud800"',
    numbers: [0, 1.5, -1e300, 5e-324],
    no: null,
    yes: true,
    nested: { list: [[], {}], '': 'empty', __proto_: 1 },
    none: Object.assign(Object.create(null), { a: 1 }),
  }
  expect(json.decode(json.encode(state) as Uint8Array, 0)).toEqual({ ...state, none: { a: 1 } })
  expect(json.decode(json.encode({ left: undefined, kept: 1 }) as Uint8Array, 0)).toEqual({ kept: 1 })
  expect(json.decode(json.encode({ at: new Date(0), url: new URL('http://a/') }) as Uint8Array, 0)).toEqual({
    at: '1970-01-01T00:00:00.000Z',
    url: 'http://a/',
  })
  expect(Object.is((json.decode(json.encode([-0]) as Uint8Array, 0) as number[])[0], 0)).toBe(true)
})

test('a getter, a proxy or a toJSON that throws is a refusal with its cause', () => {
  const hostile = [
    Object.defineProperty({}, 'a', {
      enumerable: true,
      get: () => {
        throw new Error('mine')
      },
    }),
    {
      toJSON: () => {
        throw new Error('mine')
      },
    },
    new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error('mine')
        },
      },
    ),
  ]
  for (const value of hostile) {
    expect(() => json.encode(value)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', cause: expect.objectContaining({ message: 'mine' }) }),
    )
  }
})

test('bytes that do not decode are a mismatch, and what is no bytes a bad argument', () => {
  expect(() => raw.decode('text' as unknown as Uint8Array, 0)).toThrow(refused(/must be a Uint8Array/))
  for (const codec of [json, v8Codec]) {
    expect(() => codec.decode(Buffer.from([0xff, 0xfe, 1]), 0)).toThrow(
      expect.objectContaining({ code: 'CODEC_MISMATCH' }),
    )
    expect(() => codec.decode('text' as unknown as Uint8Array, 0)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    )
  }
})

test('memory that is gone is saved by no codec', () => {
  const gone = new Uint8Array(8)
  structuredClone(gone.buffer, { transfer: [gone.buffer] })
  type Resizable = ArrayBuffer & { resize(bytes: number): void }
  const buffer = new (ArrayBuffer as unknown as new (bytes: number, more: object) => Resizable)(64, {
    maxByteLength: 64,
  })
  const shrunk = new Uint8Array(buffer, 32)
  buffer.resize(8)
  for (const view of [gone, shrunk]) {
    expect(() => v8Codec.encode({ deep: [view] })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    const codec = { id: 300, encode: () => view, decode: () => undefined }
    expect(() => encodeWith(codec, undefined)).toThrow(refused(/what codec 300 encodes to is gone/))
  }
  const whole = {
    map: new Map([[1n, new Set(['a'])]]),
    bytes: new Uint8Array([1, 2]),
    view: new DataView(new ArrayBuffer(2)),
  }
  expect(v8Codec.decode(v8Codec.encode(whole) as Uint8Array, 0)).toEqual(whole)
})

test('what is too large for a codec, or for memory, is not taken for a value or bytes that do not fit it', () => {
  const limit = expect.objectContaining({ code: 'LIMIT_REACHED', outcome: 'none' })
  // As Node says it of more than 512 MiB.
  const decoding = vi.spyOn(TextDecoder.prototype, 'decode').mockImplementation(() => {
    throw Object.assign(new Error('Cannot create a string longer'), { code: 'ERR_STRING_TOO_LONG' })
  })
  expect(() => json.decode(Buffer.from('1'), 0)).toThrow(limit)
  decoding.mockRestore()
  const writing = vi.spyOn(JSON, 'stringify').mockImplementation(() => {
    throw new RangeError('Invalid string length')
  })
  expect(() => json.encode([1])).toThrow(limit)
  writing.mockRestore()
  const short = () => {
    throw new RangeError('Array buffer allocation failed')
  }
  const none = expect.objectContaining({ code: 'OUT_OF_MEMORY', outcome: 'none' })
  const parsing = vi.spyOn(JSON, 'parse').mockImplementation(short)
  expect(() => json.decode(Buffer.from('1'), 0)).toThrow(none)
  parsing.mockRestore()
  const own = { id: 300, encode: short, decode: short }
  expect(() => encodeWith(own, 1)).toThrow(none)
  expect(() => decodeWith(own, 300, new Uint8Array(1), 0, 'It')).toThrow(none)
})
