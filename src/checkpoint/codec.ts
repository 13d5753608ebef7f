/** How values become the bytes of a checkpoint and come back. */
import { deserialize, serialize } from 'node:v8'
import { CheckpointError } from '../errors.js'

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
    if (value instanceof Uint8Array) return value
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `A checkpoint without a codec is a Uint8Array, not ${typeOf(value)}.`,
      {
        help: 'Pass a codec to log() and checkpoints(), such as json.',
      },
    )
  },
  decode: (bytes) => bytes,
}

/** JSON in UTF-8. A value that JSON cannot carry (undefined, a function, a bigint) is refused with `INVALID_ARGUMENT`. */
export const json: Codec<unknown> = {
  id: 1,
  encode(value) {
    let text: string | undefined
    try {
      text = JSON.stringify(value)
    } catch (cause) {
      throw new CheckpointError('INVALID_ARGUMENT', 'The value cannot be written as JSON.', { cause })
    }
    if (text === undefined) {
      throw new CheckpointError('INVALID_ARGUMENT', `JSON has no form for ${typeOf(value)}.`)
    }
    return new TextEncoder().encode(text)
  },
  decode: (bytes) => JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)),
}

/**
 * The structured clone format of `node:v8`: maps, sets, typed arrays, cycles. Use it only where everyone who can write the
 * region is trusted; the format is not made for hostile input.
 */
export const v8Codec: Codec<unknown> = {
  id: 2,
  encode(value) {
    try {
      return serialize(value)
    } catch (cause) {
      throw new CheckpointError('INVALID_ARGUMENT', 'The value cannot be serialized by node:v8.', { cause })
    }
  },
  decode: (bytes) => deserialize(bytes),
}

export function requireCodec(codec: { readonly id: number }): void {
  if (Number.isInteger(codec.id) && codec.id >= 0 && codec.id <= 0xffff) return
  throw new CheckpointError('INVALID_ARGUMENT', `A codec's id is an integer from 0 to 65535, not ${codec.id}.`)
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
    throw new CheckpointError('CODEC_MISMATCH', `${at} does not decode with ${codecName(codec.id)}.`, { cause })
  }
}

export function codecName(id: number): string {
  return ['raw bytes (codec 0)', 'json (codec 1)', 'v8Codec (codec 2)'][id] ?? `codec ${id}`
}

function typeOf(value: unknown): string {
  return value === null ? 'null' : typeof value
}
