/**
 * The messages and calls of control.proto, by the names that this package has for them. 64-bit numbers are bigint, maps are
 * Maps, enums are their names in the .proto file; one that this version does not know is `UNRECOGNIZED`.
 */
import type { ControlDefinition, RegionEvent, WatchRegionRequest } from './generated/control.js'

export type {
  Endpoint,
  Lease as LeaseMessage,
  OnFull as OnFullName,
  OpenMode as OpenModeName,
  OpenRegionReply as OpenRegionMessage,
  OpenSessionReply as SessionMessage,
  OpenTablesReply as OpenTablesMessage,
  RegionEventType as RegionEventTypeName,
  RegionInfo as RegionInfoMessage,
  RegionMode as RegionModeName,
  StatusReply as StatusMessage,
} from './generated/control.js'
export type RegionEventMessage = RegionEvent
export type WatchRegionMessage = WatchRegionRequest

type Methods = typeof ControlDefinition.methods
type MessageOf<T> = T extends { decode(input: Uint8Array): infer M } ? M : never

/** Request and answer of every call of the Control service that has one answer, by the call's name. */
export type ControlCalls = {
  [K in keyof Methods as Methods[K]['responseStream'] extends true ? never : Methods[K]['name']]: {
    request: MessageOf<Methods[K]['requestType']>
    reply: MessageOf<Methods[K]['responseType']>
  }
}
export type ControlCall = keyof ControlCalls
/** Fields that are left out have the default of their type. */
export type Request<C extends ControlCall> = Partial<ControlCalls[C]['request']>
export type Reply<C extends ControlCall> = ControlCalls[C]['reply']
