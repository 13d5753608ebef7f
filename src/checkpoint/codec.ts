/** How values become the bytes of a checkpoint and come back. */
import { DefaultSerializer, deserialize } from 'node:v8'
import { checkBytes, invalid, isGone, show } from '../call/check.js'
import { CheckpointError } from '../errors.js'
import { findUnfit, pathOf, type Unfit } from './json-form.js'

/**
 * Turns values into bytes and back. The id is stored with each checkpoint; reading with another codec is refused with
 * `CODEC_MISMATCH`. Ids 0 to 255 belong to this package (0 raw, 1 JSON, 2 node:v8), 256 to 65,535 to applications.
 */
export interface Codec<T> {
  readonly id: number
  /**
   * Called before `append` returns its promise. An async iterable is consumed later, and written as a stream of parts:
   * what it yields must not depend on state that changes meanwhile.
   */
  encode(value: T): Uint8Array | AsyncIterable<Uint8Array>
  /** @param schema the number given to `log()` by the writer; 0 by default */
  decode(bytes: Uint8Array, schema: number): T
}

/** The bytes themselves. The default. */
export const raw: Codec<Uint8Array> = {
  id: 0,
  encode(value) {
    checkBytes(value, 'A checkpoint without a codec')
    return value
  },
  decode(bytes) {
    checkBytes(bytes, 'What is decoded')
    return bytes
  },
}

const encoder = new TextEncoder()

/** A codec of values of any type, and a function that gives it for values of one: `json`, or `json<State>()`. */
export interface CodecOf extends Codec<unknown> {
  /** The same codec. What it decodes is taken for a T without being checked. */
  <T>(): Codec<T>
}

/**
 * JSON in UTF-8. What JSON would change or drop in silence is refused with `INVALID_ARGUMENT`, and the message names its path:
 * NaN and infinities, undefined in an array or by itself, functions, symbols, bigints, Maps, Sets, typed arrays, instances of
 * classes, circles. Taken are null, booleans, finite numbers, strings, and arrays and plain objects of them; fields of an object
 * that are undefined are left out. An object with a `toJSON` method, as Date has, is written as what that returns, and is read
 * as that: a Date as its text. -0 is written as 0.
 * In TypeScript `json<State>()` says what is in the region.
 */
export const json: CodecOf = withType({
  id: 1,
  encode(value) {
    let text: string | undefined
    let unfit: Unfit | undefined
    try {
      unfit = findUnfit(value)
      if (unfit === undefined) text = JSON.stringify(value)
    } catch (cause) {
      throw tooLarge(cause) ?? invalid('The value cannot be written as JSON.', undefined, cause)
    }
    if (unfit !== undefined) {
      const path = pathOf(unfit)
      throw invalid(
        `JSON has no form for ${path === '' ? 'the value' : path}, which is ${unfit.what}.`,
        'Leave it out, write it in another form (give its class a toJSON method), or use v8Codec.',
      )
    }
    if (text === undefined) throw invalid('The value cannot be written as JSON: its toJSON() returns nothing.')
    try {
      return encoder.encode(text)
    } catch (cause) {
      throw tooLarge(cause) ?? invalid('The value cannot be written as UTF-8.', undefined, cause)
    }
  },
  decode(bytes) {
    checkBytes(bytes, 'What is decoded')
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    } catch (cause) {
      throw tooLarge(cause) ?? new CheckpointError('CODEC_MISMATCH', 'The bytes are no JSON in UTF-8.', { cause })
    }
  },
})

/**
 * The structured clone format of `node:v8`: maps, sets, typed arrays, cycles. Use it only where everyone who can write the
 * region is trusted; the format is not made for hostile input. In TypeScript `v8Codec<State>()` says what is in the region.
 */
export const v8Codec: CodecOf = withType({
  id: 2,
  encode(value) {
    try {
      const serializer = new WholeSerializer()
      serializer.writeHeader()
      serializer.writeValue(value)
      return serializer.releaseBuffer()
    } catch (cause) {
      throw tooLarge(cause) ?? invalid('The value cannot be serialized by node:v8.', undefined, cause)
    }
  },
  decode(bytes) {
    checkBytes(bytes, 'What is decoded')
    try {
      return deserialize(bytes)
    } catch (cause) {
      const mismatch = 'The bytes are nothing that node:v8 has serialized.'
      throw tooLarge(cause) ?? new CheckpointError('CODEC_MISMATCH', mismatch, { cause })
    }
  },
})

declare module 'node:v8' {
  interface DefaultSerializer {
    /** Documented, and not in the types. */
    _writeHostObject(view: ArrayBufferView): void
  }
}

function withType(codec: Codec<unknown>): CodecOf {
  const typed: CodecOf = Object.assign(<T>(): Codec<T> => typed as Codec<unknown> as Codec<T>, codec)
  return typed
}

/** Node's own writes a view whose memory is gone as an empty one. */
class WholeSerializer extends DefaultSerializer {
  /** Called for every view. @internal */
  override _writeHostObject(view: ArrayBufferView): void {
    if (isGone(view))
      throw invalid('The memory of a view in the value is gone: transferred, or shrunk away from under it.')
    super._writeHostObject(view)
  }
}

/**
 * The bytes of a value, or the stream of them.
 * @throws CheckpointError `INVALID_ARGUMENT` where the codec fails
 */
export function encodeWith<T>(codec: Codec<T>, value: T): Uint8Array | AsyncIterable<Uint8Array> {
  let encoded: Uint8Array | AsyncIterable<Uint8Array>
  try {
    encoded = codec.encode(value)
    if (isAsyncIterable(encoded)) return encoded
  } catch (error) {
    if (error instanceof CheckpointError) throw error
    throw tooLarge(error) ?? invalid(`The value cannot be encoded with ${codecName(codec.id)}.`, undefined, error)
  }
  if (!ArrayBuffer.isView(encoded)) {
    throw invalid(`A codec encodes to a Uint8Array or an async iterable of them, not to ${show(encoded)}.`)
  }
  checkBytes(encoded, `What ${codecName(codec.id)} encodes to`)
  return encoded
}

/** @throws what reading it throws */
export function isAsyncIterable(value: unknown): value is AsyncIterable<Uint8Array> {
  return typeof (value as AsyncIterable<Uint8Array> | undefined)?.[Symbol.asyncIterator] === 'function'
}

/** @throws CheckpointError `CODEC_MISMATCH` */
export function decodeWith<T>(codec: Codec<T>, writtenWith: number, bytes: Uint8Array, schema: number, at: string): T {
  if (writtenWith !== codec.id) {
    throw new CheckpointError(
      'CODEC_MISMATCH',
      `${at} was written with ${codecName(writtenWith)}, and is read with ${codecName(codec.id)}.`,
      { help: 'Pass the same codec to checkpoints() as to log(), or take the bytes by stream().' },
    )
  }
  try {
    return codec.decode(bytes, schema)
  } catch (cause) {
    const mismatch = `${at} does not decode with ${codecName(codec.id)}.`
    throw tooLarge(cause) ?? new CheckpointError('CODEC_MISMATCH', mismatch, { cause })
  }
}

/** That there is no memory, or that a string or buffer would be longer than any can be, says nothing against the value. */
function tooLarge(cause: unknown): CheckpointError | undefined {
  if (cause instanceof CheckpointError)
    return ['OUT_OF_MEMORY', 'LIMIT_REACHED'].includes(cause.code) ? cause : undefined
  if (!(cause instanceof Error)) return undefined
  if (cause instanceof RangeError && cause.message === 'Array buffer allocation failed') {
    return new CheckpointError('OUT_OF_MEMORY', 'There is no memory for the value or its bytes.', { cause })
  }
  const { code } = cause as { code?: unknown }
  const beyond = code === 'ERR_STRING_TOO_LONG' || code === 'ERR_BUFFER_TOO_LARGE'
  if (!beyond && !(cause instanceof RangeError && cause.message === 'Invalid string length')) return undefined
  return new CheckpointError('LIMIT_REACHED', `The value is too large for its codec: ${cause.message}.`, {
    cause,
    help: 'Save it in parts, or with a codec that encodes to a stream. The bytes can be read with stream().',
  })
}

export function codecName(id: number): string {
  return ['raw bytes (codec 0)', 'json (codec 1)', 'v8Codec (codec 2)'][id] ?? `codec ${id}`
}
