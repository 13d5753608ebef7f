/**
 * Errors of gRPC itself, when the unit has not answered: one table for its statuses and the HTTP/2 errors behind them, which is also
 * in docs/control-protocol.md. `CONNECTION_REFUSED`, `CONNECTION_LOST` and `TIMEOUT` are temporary: sessions, watches and standbys
 * try again for as long as it takes. The others need a person.
 */
import type { ServiceError } from '@grpc/grpc-js'
import { isPassing } from '../error-traits.js'
import { CheckpointError, type ErrorCode, type Outcome } from '../errors.js'

interface Meaning {
  /** The gRPC status. */
  status: number
  /** Matches the status's text; without it, the row is for all other texts of that status. */
  details?: RegExp
  code: ErrorCode
  outcome: Outcome
  says?: string
  help?: string
}

const anotherProgram = {
  code: 'PROTOCOL_VIOLATION',
  outcome: 'none',
  says: 'a program other than a unit, or a proxy, answered',
  help: "Check the address: it must be that of the unit's control service.",
} as const
const lost = { code: 'CONNECTION_LOST', outcome: 'unknown' } as const
/** The unit's HTTP/2 says that it has not started the call. */
const refusedStream = { code: 'CONNECTION_LOST', outcome: 'none' } as const

const table: readonly Meaning[] = [
  // CANCELLED, and not by this side: RST_STREAM with CANCEL.
  { status: 1, ...lost },
  // UNKNOWN and what follows: an HTTP status in place of one of gRPC.
  { status: 2, details: /HTTP status code/, ...anotherProgram },
  { status: 4, code: 'TIMEOUT', outcome: 'unknown', says: 'no answer within its deadline' },
  { status: 7, ...anotherProgram },
  // RESOURCE_EXHAUSTED: of a message, or RST_STREAM with ENHANCE_YOUR_CALM.
  {
    status: 8,
    details: /message larger|Attempted to send|larger than max/i,
    code: 'LIMIT_REACHED',
    outcome: 'unknown',
    says: 'a message was too large',
    help: "Check the address: a program other than a unit may have answered; a unit's answers are smaller.",
  },
  { status: 8, ...lost },
  { status: 12, details: /HTTP status code/, ...anotherProgram },
  {
    status: 12,
    code: 'NOT_SUPPORTED',
    outcome: 'none',
    says: 'this version of the unit does not know the call',
    help: 'Upgrade the unit.',
  },
  // INTERNAL: RST_STREAM with any other code, a connection that broke in mid-frame.
  { status: 13, details: /RST_STREAM|ECONN|EPIPE|ETIMEDOUT|socket|session|stream/i, ...lost },
  { status: 13, details: /HTTP status code/, ...anotherProgram },
  // UNAVAILABLE.
  { status: 14, details: /Stream refused by server|before call started/, ...refusedStream },
  { status: 14, ...lost },
  { status: 16, ...anotherProgram },
]

const refused: Omit<Meaning, 'status'> = {
  code: 'CONNECTION_REFUSED',
  outcome: 'none',
  help: 'Check that the unit runs, and check its address.',
}
/** What listens there ended the connection, or began it with something else than HTTP/2. */
const otherProtocol: Omit<Meaning, 'status'> = {
  ...refused,
  says: 'what listens there does not answer as a unit does',
  help: "Check the address: it is that of the unit's control service, and no proxy may be in between.",
}

/** @param sent whether there was a connection on which the call may have been sent */
export function fromTransport(error: ServiceError, address: string, call: string, sent: boolean): CheckpointError {
  const { code, outcome, says, help } = meaningOf(error, sent)
  // grpc-js ends some texts with a note that is empty.
  const details = error.details.replace(/\.? Resolution note:\s*$/, '')
  return new CheckpointError(
    code,
    `${call} at the unit ${address}: ${says ?? details}${says ? ` (${details})` : ''}.`,
    {
      cause: error,
      outcome: sent ? outcome : 'none',
      ...(isPassing(code) ? { retryable: true } : {}),
      ...(help === undefined ? {} : { help }),
    },
  )
}

function meaningOf({ code: status, details }: ServiceError, sent: boolean): Omit<Meaning, 'status'> {
  if (status === 14 && !sent) return /Protocol error/.test(details) ? otherProtocol : refused
  return (
    table.find((row) => row.status === status && (row.details === undefined || row.details.test(details))) ?? {
      code: 'PROTOCOL_VIOLATION',
      outcome: 'unknown',
      says: `gRPC status ${status}`,
    }
  )
}
