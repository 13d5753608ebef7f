/**
 * CheckpointError <-> gRPC status with metadata, both ways. What one side throws the other side throws: code, message,
 * outcome, retryable, help and details.
 */
import type { Metadata, ServiceError } from '@grpc/grpc-js'
import { statusOf } from '../error-traits.js'
import { CheckpointError, type ErrorCode, errorCodes, type Outcome } from '../errors.js'
import type { GrpcModule } from './proto.js'
import { fromTransport } from './transport-errors.js'

const key = {
  code: 'rdma-checkpoint-code',
  outcome: 'rdma-checkpoint-outcome',
  retryable: 'rdma-checkpoint-retryable',
  help: 'rdma-checkpoint-help',
  details: 'rdma-checkpoint-details',
} as const

/** In the details of `LIMIT_REACHED`: too many calls of one connection are under way, so that it can be made again a little later. */
export const callsUnderWay = 'callsUnderWay'

/** Limits the metadata, because peers refuse headers beyond 8 KiB or so. */
const maxDetails = 4096
const maxMessage = 1000

/** What a handler passes to its callback for an error. Anything that is not a CheckpointError becomes INTERNAL. */
export function toStatus(grpc: GrpcModule, error: unknown): { code: number; details: string; metadata: Metadata } {
  const known =
    error instanceof CheckpointError
      ? error
      : new CheckpointError('INTERNAL', error instanceof Error ? error.message : String(error), {
          cause: error,
          outcome: 'unknown',
        })
  const metadata = new grpc.Metadata()
  metadata.set(key.code, known.code)
  metadata.set(key.outcome, known.outcome)
  if (known.retryable) metadata.set(key.retryable, '1')
  if (known.help !== undefined) metadata.set(key.help, asciiJson(known.help))
  if (known.details !== undefined) {
    const details = asciiJson(known.details)
    if (details.length <= maxDetails) metadata.set(key.details, details)
  }
  return { code: statusOf(known.code), details: bounded(known.message), metadata }
}

/** A message may quote what it refuses, and HTTP/2 breaks the connection over trailers that are too long. */
function bounded(message: string): string {
  return message.length <= maxMessage ? message : `${message.slice(0, maxMessage).toWellFormed()}…`
}

/**
 * The error that the unit threw, or what gRPC itself met on the way there.
 * @param sent as of {@link fromTransport}
 */
export function fromStatus(error: ServiceError, address: string, call: string, sent: boolean): CheckpointError {
  const text = (name: string): string | undefined => {
    const value = error.metadata?.get(name)[0]
    return typeof value === 'string' ? value : undefined
  }
  const code = text(key.code)
  if (code !== undefined && isErrorCode(code)) {
    const help = parse(text(key.help))
    const details = parse(text(key.details))
    const outcome = text(key.outcome)
    return new CheckpointError(code, error.details, {
      outcome: isOutcome(outcome) ? outcome : 'unknown',
      retryable: text(key.retryable) === '1',
      ...(typeof help === 'string' ? { help } : {}),
      ...(isRecord(details) ? { details } : {}),
    })
  }
  return fromTransport(error, address, call, sent)
}

/** JSON in printable ASCII, as metadata values must be; a bigint is its digits and the letter n. */
function asciiJson(value: unknown): string {
  const json = JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? `${item}n` : item))
  return json.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function parse(json: string | undefined): unknown {
  if (json === undefined) return undefined
  try {
    return JSON.parse(json, (_, item: unknown) =>
      typeof item === 'string' && /^-?\d{1,20}n$/.test(item) ? BigInt(item.slice(0, -1)) : item,
    )
  } catch {
    return undefined
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code)
}
function isOutcome(text: string | undefined): text is Outcome {
  return text === 'none' || text === 'unknown' || text === 'done'
}
function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
