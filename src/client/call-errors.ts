/** What calls on a region's data fail with, and what an error of the unit's says about the connection. */
import { CheckpointError, type Outcome } from '../errors.js'
import { nativeCode } from '../native-error.js'
import type { Transfer } from './transfer.js'

/** @param what of the connection's: "region 'orders'" */
export function fencedError(what: string, epoch: bigint | undefined): CheckpointError {
  return new CheckpointError(
    'FENCED',
    `${capitalized(what)} is owned by ${epoch === undefined ? 'a later epoch' : `epoch ${epoch}`} now; this owner may not write ` +
      'any more.',
    {
      help: 'Stop working as the owner. Open the region again to own it, which takes it from whoever has it now.',
      ...(epoch === undefined ? {} : { details: { epoch } }),
    },
  )
}

export function closedError(what: string): CheckpointError {
  return new CheckpointError('CLOSED', `${capitalized(what)} has been closed.`)
}

export function writesLostError(what: string): CheckpointError {
  return new CheckpointError(
    'WRITES_LOST',
    `The unit was restarted, and writes to ${what} that were visible but not durable may be gone.`,
    { help: 'Write them again. Writes with durability durable survive a restart of the unit.' },
  )
}

export function bereftError(transfer: Transfer): CheckpointError {
  return new CheckpointError(
    'INVALID_ARGUMENT',
    `${transfer.what}: its memory was transferred elsewhere before the call had settled (its ArrayBuffer is detached).`,
    {
      outcome: transfer.outcome,
      help: 'Transfer a buffer after the promise of the call that uses it has settled, or hand in a copy.',
    },
  )
}

/** @param last why the last try failed */
export function connectionLostError(
  call: string,
  outcome: Outcome,
  last: CheckpointError | undefined,
): CheckpointError {
  const because = last === undefined ? '' : ` Last: ${last.message}`
  return new CheckpointError(
    'CONNECTION_LOST',
    `${call}: the connection to the unit could not be made within the deadline.${because}`,
    {
      cause: last,
      outcome,
      retryable: true,
      help: 'Check that the unit runs and can be reached. The client goes on trying; the same call may succeed later.',
    },
  )
}

/** A unit that was restarted meanwhile knows the new owner and no longer that it was taken from us. */
export function lostToAnother(error: CheckpointError): boolean {
  return error.code === 'FENCED' || error.code === 'REGION_BUSY'
}

export function otherEpoch(error: CheckpointError): bigint | undefined {
  const epoch = error.details?.epoch
  return typeof epoch === 'bigint' ? epoch : undefined
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

const connectionCodes: ReadonlySet<unknown> = new Set([
  nativeCode.connectionRefused,
  nativeCode.connectionClosed,
  nativeCode.connectionBroken,
  nativeCode.timedOut,
  nativeCode.remoteAccess,
  nativeCode.protocolViolation,
  nativeCode.fenced,
  nativeCode.stopped,
  nativeCode.localClosed,
])
const suspectCodes: ReadonlySet<unknown> = new Set([nativeCode.remoteAccess, nativeCode.protocolViolation])

/** Whether a native code is an end of the connection: the operation is repeated on the next. */
export function endsConnection(code: unknown): boolean {
  return connectionCodes.has(code)
}

/** Of these, whether the operation itself may have caused it. */
export function mayBreakConnection(code: unknown): boolean {
  return suspectCodes.has(code)
}
