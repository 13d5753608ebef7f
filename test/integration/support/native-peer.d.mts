import type {
  NativeDataChannel,
  NativeDataHandler,
  NativeEngine,
  NativeGrant,
  NativeModule,
} from '../../../src/native.js'

export interface PeerParameters {
  port: number
  token: Uint8Array
  transport?: 'iwarp' | 'verbs'
  host?: string
  crc?: boolean
  setupTimeoutMs?: number
  workDeadlineMs?: number
}
export function loadAddon(): NativeModule
export function openData(engine: NativeEngine, parameters: PeerParameters): Promise<DataPeer>
export interface SessionPeer {
  welcome: { session: bigint; heartbeatMs: number; unitGeneration: bigint }
  fences: [bigint, bigint][]
  closed?: { code: number; message: string }
  channel: { close(): void }
}
export function openSession(engine: NativeEngine, parameters: PeerParameters): Promise<SessionPeer>
export class DataPeer implements NativeDataHandler {
  grant: NativeGrant
  closed?: { code: number; message: string }
  channel: NativeDataChannel
  batches: number
  readonly ended: Promise<{ code: number; message: string }>
  readonly pending: number
  onOpen(grant: NativeGrant): void
  onOutcomes(outcomes: Float64Array): void
  onClosed(code: number, message: string): void
  post(
    kind: number,
    until: number,
    offsets: readonly number[],
    buffers: readonly Uint8Array[],
    flushRanges?: readonly number[],
  ): Promise<Float64Array>
  write(offset: number, bytes: Uint8Array, until?: number): Promise<Float64Array>
  read(offset: number, bytes: Uint8Array): Promise<Float64Array>
  flush(ranges: readonly number[]): Promise<Float64Array>
}
