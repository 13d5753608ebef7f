/**
 * The messages of control.proto as proto-loader gives them: 64-bit numbers are strings of digits, enums are their
 * names, bytes are Buffers. In an answer every field is there; in a request any may be left out.
 */

export interface Endpoint {
  transport: string
  host: string
  port: number
}
export type RegionModeName = 'REGION_MODE_UNSPECIFIED' | 'APPEND' | 'OVERWRITE' | 'RAW'
export type OnFullName = 'ON_FULL_UNSPECIFIED' | 'DROP_OLDEST' | 'WAIT' | 'FAIL'
export type OpenModeName = 'OPEN_MODE_UNSPECIFIED' | 'READ' | 'WRITE' | 'TAKE_OVER'

export interface LeaseMessage {
  silenceMs?: number
  stallMs?: number
}
export interface CursorMessage {
  name: string
  epoch: string
  sequence: string
}
export interface RegionInfoMessage {
  name: string
  id: string
  bytes: string
  mode: RegionModeName
  onFull: OnFullName
  epoch: string
  owner: string
  ownerSinceMs: string
  labels: Record<string, string>
  lease: LeaseMessage | null
  cursors: CursorMessage[]
  ownerLost: boolean
}
export interface StatusMessage {
  id: string
  generation: string
  state: string
  used: string
  bytes: string
  regions: number
  promises: string[]
  endpoints: Endpoint[]
  version: string
  medium: string
  counters: Record<string, string>
  maxRegions: number
  sessions: number
}
export interface SessionMessage {
  session: string
  token: Buffer
  tokenLifeMs: number
  endpoints: Endpoint[]
  unit: StatusMessage | null
  maxRegionBytes: string
}
export interface OpenRegionMessage {
  region: RegionInfoMessage | null
  handle: string
  token: Buffer
  endpoints: Endpoint[]
  epoch: string
  ownerSecret: Buffer
  unitGeneration: string
  slot: number
}
export interface OpenTablesMessage {
  handle: string
  token: Buffer
  endpoints: Endpoint[]
  bytes: string
  tableOffsetA: string
  tableOffsetB: string
  slotBytes: number
  slots: number
}
export type RegionEventTypeName =
  | 'REGION_EVENT_TYPE_UNSPECIFIED'
  | 'CREATED'
  | 'OPENED'
  | 'OWNER_LOST'
  | 'RELEASED'
  | 'TAKEN_OVER'
  | 'CLEARED'
  | 'DELETED'
export interface RegionEventMessage {
  type: RegionEventTypeName
  revision: string
  epoch: string
  atMs: string
  snapshot: boolean
}
export interface WatchRegionMessage {
  session: string
  name: string
  sinceRevision?: string
}
type Empty = Record<string, never>

/** Request and answer of every call of the Control service that has one answer, by the call's name. */
export interface ControlCalls {
  OpenSession: {
    request: { clientVersion: string; identity: string; clientId: Uint8Array }
    reply: SessionMessage
  }
  ResumeSession: { request: { session: string; clientId: Uint8Array }; reply: SessionMessage }
  CloseSession: { request: { session: string }; reply: Empty }
  CreateRegion: {
    request: {
      session: string
      name: string
      bytes: string
      mode: RegionModeName
      onFull: OnFullName
      lease: LeaseMessage
      labels: Record<string, string>
    }
    reply: { region: RegionInfoMessage | null }
  }
  OpenRegion: {
    request: {
      session: string
      name: string
      mode: OpenModeName
      previousHandle: string
      ownerSecret: Uint8Array
      ownerEpoch: string
      regionId: string
      lease: LeaseMessage
      tokenLifeMs: number
    }
    reply: OpenRegionMessage
  }
  CloseRegion: { request: { session: string; handle: string }; reply: Empty }
  DeleteRegion: { request: { session: string; name: string; regionId: string }; reply: Empty }
  ListRegions: {
    request: { session: string; prefix: string; pageAfter: string; pageSize: number }
    reply: { regions: RegionInfoMessage[]; more: boolean }
  }
  GetRegion: { request: { session: string; name: string }; reply: RegionInfoMessage }
  SaveCursor: {
    request: { session: string; region: string; regionId: string; cursor: CursorMessage }
    reply: Empty
  }
  NoteCleared: { request: { session: string; handle: string }; reply: Empty }
  OpenTables: { request: { session: string; previousHandle: string }; reply: OpenTablesMessage }
  Status: { request: Empty; reply: StatusMessage }
}
export type ControlCall = keyof ControlCalls
export type Request<C extends ControlCall> = Partial<ControlCalls[C]['request']>
export type Reply<C extends ControlCall> = ControlCalls[C]['reply']
