/**
 * A native layer and a control plane made of JavaScript, with a region in memory, for tests of what the client does when
 * things break. Operations complete when a test says so, or at once with `auto`.
 */

import { connectWith } from '../../src/client/connect.js'
import type { Control } from '../../src/client/unit-session.js'
import { CheckpointError } from '../../src/errors.js'
import type {
  NativeConnect,
  NativeDataChannel,
  NativeDataHandler,
  NativeEngine,
  NativeModule,
  NativeOperation,
  NativeSessionHandler,
} from '../../src/native.js'
import { operationKind, postFlag } from '../../src/native.js'
import { nativeCode } from '../../src/native-error.js'
import type { ConnectOptions } from '../../src/types.js'
import { crc32c } from './memory-region.js'

export interface Posted {
  id: number
  kind: number
  until: number
  offsets: readonly number[]
  buffers: readonly Uint8Array[]
  flushRanges: readonly number[] | undefined
  flushByUnit: boolean
  poll: boolean
}

export class FakeChannel implements NativeDataChannel {
  readonly pending: Posted[] = []
  open = false
  closed = false

  constructor(
    readonly unit: FakeUnit,
    readonly handler: NativeDataHandler,
  ) {}

  post(id: number, operation: NativeOperation, flags = 0): number | undefined {
    this.#requireTaken([operation])
    const posted = this.#posted(id, operation, flags)
    this.unit.groups.push([posted])
    return this.#carry(posted)
  }

  postGroup(firstId: number, operations: readonly NativeOperation[], flags: number): void {
    const [first] = operations
    for (const { kind, until } of operations) {
      if (kind !== first?.kind || until !== first.until) throw new Error('a group of two kinds')
    }
    this.#requireTaken(operations)
    const group = operations.map((operation, index) => this.#posted(firstId + index, operation, flags))
    this.unit.groups.push(group)
    for (const posted of group) this.#carry(posted)
  }

  #requireTaken(operations: readonly NativeOperation[]): void {
    const code = this.closed
      ? nativeCode.localClosed
      : operations.map(this.unit.refused).find((one) => one !== undefined)
    if (code !== undefined) throw Object.assign(new Error('refused'), { nativeCode: code })
  }

  #posted(id: number, operation: NativeOperation, flags: number): Posted {
    const { kind, until, offsets, buffers, flushRanges } = operation
    const flushByUnit = (flags & postFlag.flushByUnit) !== 0
    const poll = (flags & postFlag.poll) !== 0
    return { id, kind, until, offsets, buffers, flushRanges, flushByUnit, poll }
  }

  #carry(posted: Posted): number | undefined {
    const { poll } = posted
    this.unit.log.push(posted)
    if (poll && this.unit.quick) {
      this.unit.carryOut(posted)
      return 0
    }
    this.pending.push(posted)
    if (this.unit.quick && this.unit.auto) setImmediate(() => this.complete())
    else if (this.unit.auto) queueMicrotask(() => this.complete())
    return undefined
  }

  get bytesInFlight(): number {
    return this.pending.reduce(
      (sum, { buffers }) => sum + buffers.reduce((all, { byteLength }) => all + byteLength, 0),
      0,
    )
  }

  /** Carries out so many pending operations, oldest first. */
  complete(count = this.pending.length, code: number = nativeCode.ok): void {
    const done = this.pending.splice(0, count)
    if (done.length === 0) return
    const outcomes = new Float64Array(done.length * 4)
    for (const [index, posted] of done.entries()) {
      if (code === nativeCode.ok) this.unit.carryOut(posted)
      outcomes.set([posted.id, code, posted.kind === operationKind.flush || posted.until === 2 ? 2 : 0, 0], index * 4)
    }
    this.handler.onOutcomes(outcomes)
  }

  /** The connection breaks: pending operations first, then the end. */
  break(code: number = nativeCode.connectionBroken): void {
    if (this.closed) return
    this.closed = true
    this.complete(this.pending.length, code)
    this.handler.onClosed(code, 'the connection broke', 0)
  }

  close(): void {
    queueMicrotask(() => this.break(nativeCode.localClosed))
  }
}

export class FakeUnit {
  readonly memory: Uint8Array
  readonly log: Posted[] = []
  /** What was posted together. */
  readonly groups: Posted[][] = []
  /** With what native code refuses to post an operation, if it does. */
  refused: (operation: NativeOperation) => number | undefined = () => undefined
  readonly channels: FakeChannel[] = []
  readonly calls: { name: string; request: Record<string, unknown> }[] = []
  auto = true
  /** Polled operations are answered by the post. */
  quick = false
  transports: readonly ('iwarp' | 'verbs')[] = ['iwarp']
  /** Set-ups on these get no answer. */
  silent: readonly ('iwarp' | 'verbs')[] = []
  starts = 1n
  promises = 3
  /** Thrown by the next control calls, by name. */
  refuse: Record<string, CheckpointError | undefined> = {}
  /** Connection set-ups fail. */
  unreachable = false
  mode: 'RAW' | 'APPEND' = 'RAW'
  session = 1n
  #sessionHandler: NativeSessionHandler | undefined

  constructor(readonly bytes = 1 << 20) {
    this.memory = new Uint8Array(bytes)
  }

  get channel(): FakeChannel {
    return this.channels.at(-1) as FakeChannel
  }

  connect(options: ConnectOptions = {}) {
    return connectWith({ native: () => this.native, openControl: async () => this.control }, 'fake:1', options)
  }

  breakSession(code: number = nativeCode.connectionBroken): void {
    this.#sessionHandler?.onClosed(code, 'the connection broke', 0)
  }

  /** Everything breaks, and what was not flushed is what a test makes of it. */
  restart(): void {
    this.starts++
    this.session++
    this.channel.break()
    this.breakSession()
  }

  fence(handle: bigint, epoch: bigint): void {
    this.#sessionHandler?.onFenced(handle, epoch)
  }

  carryOut({ kind, offsets, buffers }: Posted): void {
    for (const [index, buffer] of buffers.entries()) {
      const offset = offsets[index]!
      if (kind === operationKind.write) this.memory.set(buffer, offset)
      else buffer.set(this.memory.subarray(offset, offset + buffer.byteLength))
    }
  }

  readonly native = {
    version: '0.0.0',
    fabrics: ['iwarp'],
    allocate: (bytes: number) => new ArrayBuffer(bytes),
    crc32c,
    copyCrc32c: (target: Uint8Array, offset: number, source: Uint8Array, seed?: number) => {
      target.set(source, offset)
      return crc32c(source, seed)
    },
    Engine: class {},
  } as unknown as NativeModule & { Engine: unknown }

  readonly control: Control = {
    address: 'fake:1',
    call: (async (name: string, request: Record<string, unknown>) => {
      this.calls.push({ name, request })
      const refused = this.refuse[name]
      if (refused !== undefined) throw refused
      if (request.session !== undefined && request.session !== this.session) {
        throw new CheckpointError('SESSION_EXPIRED', 'no such session')
      }
      return this.#answer(name)
    }) as Control['call'],
    listen: () => undefined,
    connect: () => undefined,
    renew: () => undefined,
    async *watchRegion() {},
    close: () => undefined,
  }

  #answer(name: string): unknown {
    const endpoints = this.transports.map((transport) => ({ transport, host: '127.0.0.1', port: 1 }))
    if (name === 'OpenSession' || name === 'ResumeSession') {
      return { session: this.session, token: new Uint8Array(32), endpoints }
    }
    if (name !== 'OpenRegion') return {}
    return {
      region: {
        name: 'r',
        id: '00000000-0000-4000-8000-000000000001',
        bytes: BigInt(this.bytes),
        mode: this.mode,
        onFull: 'DROP_OLDEST',
        epoch: 5n,
        owner: '',
        ownerSinceMs: 0n,
        labels: new Map(),
        cursors: [],
      },
      handle: 7n,
      token: new Uint8Array(32),
      endpoints,
      epoch: 5n,
      ownerSecret: Buffer.alloc(32, 1),
      unitStart: this.starts,
      slot: 0,
    }
  }

  engine(): NativeEngine {
    return {
      connectData: ({ transport }: NativeConnect, handler: NativeDataHandler) => {
        const channel = new FakeChannel(this, handler)
        this.channels.push(channel)
        setImmediate(() => {
          if (this.silent.includes(transport)) {
            channel.closed = true
            handler.onClosed(nativeCode.timedOut, 'no answer', 0)
            return
          }
          if (this.unreachable) {
            channel.closed = true
            handler.onClosed(nativeCode.connectionRefused, 'nobody listens', 0)
            return
          }
          channel.open = true
          handler.onOpen({
            length: this.bytes,
            epoch: 5n,
            unitStart: this.starts,
            rights: 3,
            credits: 16,
            promises: this.promises,
            flushVerb: false,
            base: 0n,
            key: 1,
          })
        })
        return channel
      },
      connectSession: ({ transport }: NativeConnect, handler: NativeSessionHandler) => {
        setImmediate(() => {
          if (this.silent.includes(transport)) {
            handler.onClosed(nativeCode.timedOut, 'no answer', 0)
            return
          }
          this.#sessionHandler = handler
          handler.onOpen({ session: this.session, heartbeatMs: 100, unitStart: this.starts })
        })
        return { close: () => undefined }
      },
      close: async () => undefined,
    }
  }

  static make(bytes?: number): FakeUnit {
    const unit = new FakeUnit(bytes)
    Object.assign(unit.native, {
      Engine: function Engine() {
        return unit.engine()
      },
    })
    return unit
  }
}

/** Lets everything that is ready happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (condition()) return
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  throw new Error(`${what} did not come true`)
}
