/** The calls of control.proto, from message to message; the gRPC server is in control-server.ts. */

import type {
  ControlCall,
  ControlCalls,
  Endpoint,
  LeaseMessage,
  OpenModeName,
  RegionEventMessage,
  Reply,
  SessionMessage,
  StatusMessage,
  WatchRegionMessage,
} from '../control/messages.js'
import { eventTypeNames, modeOf, onFullOf, toRegionMessage, unknownValue } from '../control/region-message.js'
import { CheckpointError } from '../errors.js'
import type { NativeResponder } from '../native.js'
import { callNative, rethrow } from '../native-error.js'
import type { Geometry } from '../pool/geometry.js'
import { toRegionInfo } from '../pool/region-info.js'
import { type RegionRecord, limits as slotLimits } from '../pool/slot.js'
import type { LeaseChange } from './lease.js'
import type { OpenRequest } from './region-openings.js'
import type { RegionService } from './regions.js'
import type { Sessions } from './sessions.js'
import { Watches } from './watches.js'

/** Who makes a call. Development mode: what it says of itself. */
export interface Caller {
  readonly identity: string
  /** Whether the client has given the call up. */
  readonly gone: () => boolean
}
export type ControlHandlers = {
  [C in ControlCall]: (request: ControlCalls[C]['request'], caller: Caller) => Reply<C> | Promise<Reply<C>>
} & {
  /** The signal aborts when the caller is gone. */
  WatchRegion(request: WatchRegionMessage, signal: AbortSignal): AsyncIterable<RegionEventMessage>
}

export interface ControlContext {
  regions: RegionService
  sessions: Sessions
  responder: NativeResponder
  geometry: Geometry
  endpoints: readonly Endpoint[]
  unitStart: bigint
  maxRegionBytes: number
  tokenLifeMs: number
  /** Of a session. */
  maxWatches: number
  /** The responder's number of the pool's tables. */
  tablesId: bigint
  status: () => StatusMessage
}

const defaultPage = 500
const maxPage = 1000
const maxAttemptBytes = 64
const nilUuid = '00000000-0000-0000-0000-000000000000'

export function controlHandlers(context: ControlContext): ControlHandlers {
  const { regions, sessions, responder } = context
  const watches = new Watches(context.maxWatches)

  const sessionMessage = (id: bigint): SessionMessage => ({
    session: id,
    token: callNative(() => responder.issueToken({ kind: 'session', session: id })),
    tokenLifeMs: context.tokenLifeMs,
    endpoints: [...context.endpoints],
    unit: context.status(),
    maxRegionBytes: BigInt(context.maxRegionBytes),
  })
  const regionMessage = (record: RegionRecord, states = sessions.states()) =>
    toRegionMessage(toRegionInfo(record), regions.ownerLost(record, states))

  return {
    async OpenSession({ clientId, identity }, caller) {
      if (clientId.byteLength !== 16) throw invalid(`client_id has ${clientId.byteLength} bytes instead of 16`)
      for (const session of sessions.expired()) await regions.openings.expire(session)
      for (let last = sessions.yielding(); last !== undefined; last = sessions.yielding())
        await regions.openings.expire(last)
      if (caller.gone()) throw new CheckpointError('ABORTED', 'The session was given up by its client.')
      const session = sessions.open(idOf(clientId), checkedIdentity(identity || caller.identity))
      return sessionMessage(session.id)
    },

    ResumeSession({ session, clientId }) {
      return sessionMessage(sessions.get(session, idOf(clientId)).id)
    },

    async CloseSession({ session }) {
      await regions.openings.closeSession(sessions.get(session))
      return {}
    },

    async CreateRegion(request) {
      sessions.get(request.session)
      const record = await regions.create({
        name: request.name,
        bytes: bytesOf(request.bytes),
        mode: modeOf(request.mode),
        onFull: onFullOf(request.onFull),
        lease: leaseOf(request.lease),
        labels: Object.fromEntries(request.labels),
        ...(request.regionId === '' ? {} : { id: uuidOf(request.regionId) }),
      })
      return { region: regionMessage(record) }
    },

    async OpenRegion(request, caller) {
      const session = sessions.get(request.session)
      const opened = await regions.openings.open(session, openRequest(request))
      if (caller.gone() && opened.handle.id !== request.previousHandle) {
        // Nobody will ever use the handle, and as a new owner it would stand in everybody's way.
        await regions.openings.withdraw(opened)
        throw new CheckpointError('ABORTED', `The open of "${request.name}" was given up by its client.`, {
          outcome: 'unknown',
        })
      }
      return {
        region: regionMessage(opened.record),
        handle: opened.handle.id,
        token: opened.token,
        endpoints: [...context.endpoints],
        epoch: opened.handle.epoch,
        ownerSecret: opened.ownerSecret ?? new Uint8Array(),
        unitStart: context.unitStart,
        slot: regions.catalogue.slotOf(opened.record.name),
      }
    },

    async CloseRegion({ session, handle, name, attempt }) {
      const client = sessions.get(session)
      if (attempt.byteLength > 0) {
        await regions.openings.cancel(client, name, attemptOf(attempt))
        return {}
      }
      const open = client.handles.get(handle)
      if (open === undefined) {
        await regions.openings.closed(client, handle)
        return {}
      }
      if (open.regionId === '') {
        await responder.dropHandle(context.tablesId, open.id).catch(rethrow)
        open.session.handles.delete(open.id)
      } else await regions.openings.close(open)
      return {}
    },

    async DeleteRegion({ session, name, regionId }) {
      sessions.get(session)
      await regions.delete(name, regionId || undefined)
      return {}
    },

    ListRegions({ session, prefix, pageAfter, pageSize }) {
      sessions.get(session)
      const page = regions.catalogue.list(prefix, pageAfter, Math.min(pageSize || defaultPage, maxPage))
      const states = sessions.states()
      return { regions: page.records.map((record) => regionMessage(record, states)), more: page.more }
    },

    GetRegion({ session, name }) {
      sessions.get(session)
      return regionMessage(regions.get(name))
    },

    async SaveCursor({ session, region, regionId, cursor }) {
      sessions.get(session)
      if (!cursor) throw invalid('SaveCursor without a cursor')
      await regions.saveCursor(region, regionId || undefined, {
        name: cursor.name,
        epoch: cursor.epoch,
        sequence: cursor.sequence,
      })
      return {}
    },

    async *WatchRegion({ session, name, sinceRevision }, signal) {
      const watch = watches.begin(sessions.get(session))
      try {
        for await (const event of regions.watch(name, sinceRevision, AbortSignal.any([signal, watch.signal]))) {
          yield {
            type: eventTypeNames[event.type],
            revision: event.revision,
            epoch: event.epoch,
            atMs: BigInt(event.atMs),
            snapshot: event.snapshot,
          }
        }
        if (!signal.aborted) watch.signal.throwIfAborted()
      } finally {
        watch.end()
      }
    },

    NoteCleared({ session, handle }) {
      const open = sessions.get(session).handles.get(handle)
      if (open !== undefined) regions.noteCleared(open)
      return {}
    },

    async OpenTables({ session, previousHandle }) {
      const owner = sessions.get(session)
      const previous = owner.handles.get(previousHandle)
      if (previous?.regionId === '') await responder.dropHandle(context.tablesId, previous.id).catch(rethrow)
      const handle =
        previous?.regionId === ''
          ? previous
          : sessions.addHandle(owner, { region: '', regionId: '', rights: 'read', epoch: 0n })
      const token = callNative(() =>
        responder.issueToken({
          kind: 'data',
          session: owner.id,
          region: context.tablesId,
          handle: handle.id,
          rights: 'read',
          epoch: 0n,
        }),
      )
      const { geometry } = context
      return {
        handle: handle.id,
        token,
        endpoints: [...context.endpoints],
        bytes: BigInt(geometry.firstDataOffset),
        tableOffsetA: BigInt(geometry.tableOffsets[0]),
        tableOffsetB: BigInt(geometry.tableOffsets[1]),
        slotBytes: geometry.slotBytes,
        slots: geometry.slots,
      }
    },

    Status: () => context.status(),
  }
}

const openModes: Readonly<Partial<Record<OpenModeName, OpenRequest['mode']>>> = {
  OPEN_MODE_UNSPECIFIED: 'read',
  READ: 'read',
  WRITE: 'write',
  TAKE_OVER: 'takeOver',
}

function openRequest(request: ControlCalls['OpenRegion']['request']): OpenRequest {
  const mode = openModes[request.mode] ?? unknownValue('mode')
  const previous = request.previousHandle
  return {
    name: request.name,
    mode,
    ...(previous === 0n ? {} : { previousHandle: previous }),
    ...(request.ownerSecret.byteLength === 0
      ? {}
      : { resume: { secret: request.ownerSecret, epoch: request.ownerEpoch } }),
    ...(request.regionId === '' ? {} : { regionId: request.regionId }),
    lease: leaseOf(request.lease),
    tokenLifeMs: request.tokenLifeMs,
    ...(request.attempt.byteLength === 0 ? {} : { attempt: attemptOf(request.attempt) }),
  }
}

function attemptOf(bytes: Uint8Array): string {
  if (bytes.byteLength > maxAttemptBytes)
    throw invalid(`attempt has ${bytes.byteLength} bytes, and ${maxAttemptBytes} is the most`)
  return Buffer.from(bytes).toString('hex')
}

function uuidOf(text: string): string {
  if (/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/.test(text) && text !== nilUuid) return text
  throw invalid('region_id is no UUID in lower case')
}

/** Absent fields stay absent. */
function leaseOf(lease: LeaseMessage = {}): LeaseChange {
  return {
    ...(lease.silenceMs === undefined ? {} : { silenceMs: lease.silenceMs }),
    ...(lease.stallMs === undefined ? {} : { stallMs: lease.stallMs }),
  }
}

function bytesOf(bytes: bigint): number {
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`A region of ${bytes} bytes is too large`)
  return Number(bytes)
}

function checkedIdentity(identity: string): string {
  const bytes = Buffer.byteLength(identity)
  if (bytes <= slotLimits.identityBytes && identity.isWellFormed()) return identity
  throw invalid(`The identity has ${bytes} bytes, and ${slotLimits.identityBytes} is the most`)
}

function idOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function invalid(message: string): CheckpointError {
  return new CheckpointError('INVALID_ARGUMENT', `${message}.`)
}
