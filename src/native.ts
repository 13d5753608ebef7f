/**
 * Every native function and class, typed and documented in one place. Nothing here is public; `native/binding/` implements
 * it. Offsets and lengths are numbers (a region is smaller than 2^53 bytes); epochs and handles are bigints.
 *
 * Errors: a native call that fails throws (or rejects with) an `Error` whose `nativeCode` is a number of
 * `native/base/result.h` and whose `systemError` is an errno or 0; {@link fromNative} in native-error.ts turns it into
 * a CheckpointError. Calls that return a promise throw at once for what is wrong with their arguments.
 *
 * Threads: what is made in one environment (the main thread, or one Worker) is used there. Callbacks and promises come on
 * its thread; an exception from a callback is an `uncaughtException`. When the environment ends, native threads are
 * stopped first and nothing is called any more. A child made by `fork()` without `exec()` must not use the addon.
 */

export interface NativeModule {
  /** Version of the package the addon was built from. */
  readonly version: string
  /** Fabrics that were compiled in. */
  readonly fabrics: readonly ('iwarp' | 'verbs')[]
  /** Test builds only: file writes are held in memory until fdatasync. */
  readonly shadowFileIo: boolean
  /** CRC32C (RFC 3720 B.4) of the bytes, continuing from `seed` (a CRC of what came before; default none). */
  crc32c(bytes: Uint8Array, seed?: number): number
  /**
   * Copies all of source to target at targetOffset and returns the CRC32C of it, continuing from seed, in one pass: it is
   * the checksum of what is in target then, even if another thread changes source meanwhile. The two must not overlap.
   */
  copyCrc32c(target: Uint8Array, targetOffset: number, source: Uint8Array, seed?: number): number
  /**
   * What is in state and not in base, compared in blocks: runs of an offset, a length (8 bytes each, little-endian) and
   * the bytes, ascending, neighbours joined; blocks beyond base count as changed. Brings base up to date as far as it
   * reaches. Undefined when that would be more than mostBytes; then base is of no use any more.
   */
  takeChanges(base: Uint8Array, state: Uint8Array, blockBytes: number, mostBytes: number): Uint8Array | undefined
  /**
   * Zeroed memory as one ArrayBuffer of 0 to 2^32 bytes, for allocate() and staging: a page-aligned anonymous mapping,
   * unmapped when it is collected; an ordinary ArrayBuffer where the runtime allows no external ones.
   * @param lasting a device that transfers from or to it may register it as a whole
   */
  allocate(bytes: number, lasting: boolean): ArrayBuffer
  /**
   * Has the kernel end a TCP connection (ETIMEDOUT) whose other end's kernel acknowledges nothing for so long: bytes, or, while it
   * is idle, probes; an idle one therefore after twice that at most. The other end's process may be as slow as it likes.
   * @param descriptor of the socket
   * @param ms 1 to 3,600,000; probes go by whole seconds
   */
  boundTcpSilence(descriptor: number, ms: number): void
  /**
   * RDMA devices as libibverbs lists them.
   * @throws notSupported, with what to install, where the libraries are missing or the fabric was not built
   */
  verbsDevices(): NativeVerbsDevice[]
  /**
   * sd_notify(3): one datagram of assignments, such as READY=1, to the address in $NOTIFY_SOCKET. Never waits.
   * @throws systemError when nobody listens there; invalidArgument
   */
  notifyServiceManager(address: string, state: string): void
  Medium: { open(options: NativeMediumOptions, handler?: NativeMediumHandler): Promise<NativeMedium> }
  Responder: {
    new (medium: NativeMedium, options: NativeResponderOptions, handler?: NativeResponderHandler): NativeResponder
  }
  Engine: { new (options: NativeEngineOptions): NativeEngine }
  /** Starts at once. @throws systemError with EADDRINUSE and others of the listening socket */
  PeerLink: { new (options: NativePeerOptions, handler: NativePeerHandler): NativePeerLink }
}

/** `VerbsDevice` of `native/fabric/fabric.h`. */
export interface NativeVerbsDevice {
  name: string
  iwarp: boolean
  windows: boolean
  /** RDMA FLUSH to persistent memory. */
  flush: boolean
  queuePairs: number
  registrations: number
  reads: number
  registrationBytes: bigint
  /** Why it cannot be used, or ''. */
  problem: string
}

export type NativeMediumOptions =
  | { medium: 'memory'; bytes: number }
  | { medium: 'file'; path: string; create: boolean; bytes?: number }
  | { medium: 'devdax'; path: string }

export interface NativeMediumHandler {
  /** A write or sync has failed, or the medium is not what was opened any more: `failure` says what. Called once. */
  onFailed(): void
}

/** `native/media/medium.h`. Promises settle on the JavaScript thread; the work runs on threads of the medium's own. */
export interface NativeMedium {
  readonly bytes: number
  readonly blockSize: number
  readonly durable: boolean
  /** What failed first, or was found first; nothing becomes durable any more. */
  readonly failure: Error | undefined
  /** A copy of the pool's bytes. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>
  /** Into the pool's memory; durable only after flush. */
  write(offset: number, bytes: Uint8Array): void
  /** Offsets and lengths in turn: [offset, length, offset, length, ...]. */
  flush(ranges: readonly number[]): Promise<void>
  zero(offset: number, length: number): Promise<void>
  load(offset: number, length: number): Promise<void>
  /** Unlocks and unmaps, once work under way has ended; a responder over it must have been stopped. */
  close(): Promise<void>
}

export interface NativeResponderOptions {
  loops?: number
  flushThreads?: number
  maxConnections?: number
  credits?: number
  heartbeatMs?: number
  tokenLifeMs?: number
  tokensPerSession?: number
  helloTimeoutMs?: number
  unitStart: bigint
  crc?: boolean
}

/** `fabric::DeviceNews`: what an RDMA device said of itself. */
export interface NativeDeviceNews {
  kind:
    | 'failed'
    | 'removed'
    | 'queue-failed'
    | 'port-down'
    | 'port-up'
    | 'addresses-changed'
    | 'identifier-changed'
    | 'partitions-changed'
  device: string
  /** Of a port; else of the device. */
  port?: number
  text: string
  /** How many times in a row, if JavaScript came late to it. */
  count: number
}

export interface NativeResponderHandler {
  /** Sessions have lost the last connection they had; see sessions(). Several such events may make one call. */
  onSessionAlone(): void
  onDeviceNews(news: NativeDeviceNews): void
}

/** Times in milliseconds on the clock of leases, which stands still while the unit's process does. */
export interface NativeSessionState {
  session: bigint
  connected: boolean
  everConnected: boolean
  dataConnections: number
  heardMsAgo: number
  loopAgeMs: number
}

/** `native/unit/responder.h`: the unit's data plane, on its own threads. */
export interface NativeResponder {
  /** Returns the bound port. */
  listen(transport: 'iwarp' | 'verbs', host: string, port: number): number
  addRegion(id: bigint, extents: readonly number[], length: number, epoch: bigint, readOnly: boolean): void
  removeRegion(id: bigint): Promise<void>
  fence(id: bigint, epoch: bigint): Promise<void>
  dropHandle(id: bigint, handle: bigint): Promise<void>
  /** What writers left visible in the region and is not durable yet; after a fence. */
  makeDurable(id: bigint): Promise<void>
  addSession(session: bigint): void
  removeSession(session: bigint): void
  sessions(): NativeSessionState[]
  /** Milliseconds on the clock of leases since the responder was made. */
  leaseTime(): number
  issueToken(request: {
    kind: 'data' | 'session'
    session: bigint
    region?: bigint
    handle?: bigint
    rights?: 'read' | 'write' | 'readWrite'
    epoch?: bigint
    lifeMs?: number
  }): Uint8Array<ArrayBuffer>
  counters(): Record<string, bigint>
  stop(): Promise<void>
}

/** Numbers of an operation's kind and how far it goes; see `native/client/channel.h`. */
export const operationKind = { write: 0, read: 1, flush: 2 } as const
export const operationUntil = { placed: 0, visible: 1, durable: 2 } as const

export interface NativeEngineOptions {
  /** Name of the native thread, at most 15 characters. */
  name?: string
}

/**
 * The client's event-loop thread of one Node environment. Holds the process open only while an operation or a
 * connection set-up is pending.
 */
export interface NativeEngine {
  connectData(parameters: NativeConnect, handler: NativeDataHandler): NativeDataChannel
  connectSession(parameters: NativeConnect, handler: NativeSessionHandler): NativeSessionChannel
  /** Closes what is open, in order within one second and then at once, and joins the thread. */
  close(): Promise<void>
}

export interface NativeConnect {
  transport: 'iwarp' | 'verbs'
  host: string
  port: number
  token: Uint8Array
  crc?: boolean
  setupTimeoutMs?: number
  /**
   * Of a data connection: the most milliseconds that one operation may take; default none. A transfer or an RDMA FLUSH
   * beyond it breaks the connection. The answer to a flush of the unit's beyond it ends that operation with timedOut and
   * leaves the connection, unless a read that probes it is not answered either.
   */
  workDeadlineMs?: number
}

export interface NativeGrant {
  length: number
  epoch: bigint
  unitStart: bigint
  rights: number
  credits: number
  promises: number
  /** Durable is had by the RDMA FLUSH operation, without the unit's CPU. */
  flushVerb: boolean
  base: bigint
  key: number
}

export interface NativeDataHandler {
  onOpen(grant: NativeGrant): void
  /** Four numbers an outcome: id, error code (result.h), method (0 none, 1 flush-verb, 2 unit-flush, 3 read-after-write), errno. */
  onOutcomes(outcomes: Float64Array): void
  /** Once and last; all outcomes came before. */
  onClosed(code: number, message: string, systemError: number): void
}

/** One operation. Channels of several units may be given the same object. */
export interface NativeOperation {
  /** One of {@link operationKind}. */
  readonly kind: number
  /** Of a write: one of {@link operationUntil}. */
  readonly until: number
  /** For each buffer its offset in the region. */
  readonly offsets: readonly number[]
  /** None for a flush. */
  readonly buffers: readonly Uint8Array[]
  /** [offset, length, ...] for a flush, or what a durable write covers beyond its own ranges. */
  readonly flushRanges: readonly number[] | undefined
}

/** How one channel is to carry an operation out; flags to be added up. */
export const postFlag = {
  /** What is flushed may have been written on an earlier connection, which RDMA FLUSH does not cover. */
  flushByUnit: 1,
  /**
   * Look for the answer for some microseconds, where the transport can: for small operations while nothing else is in
   * flight.
   */
  poll: 2,
  /**
   * Read into the buffers without a copy: nobody else has their memory before the outcome, so that nobody can transfer
   * it.
   */
  ours: 4,
} as const

export interface NativeDataChannel {
  /**
   * Posts one operation, transmitting at once on this thread where the socket takes it. Operations take effect in the
   * order of posting. Memory of allocate() is sent from and read into where it lies, and stays there until the outcome
   * whatever becomes of the buffer over it. Other memory is copied: before this returns, or before the outcome is told;
   * what was transferred away meanwhile is not read into. Buffers over a SharedArrayBuffer or a resizable or detached
   * ArrayBuffer are refused.
   * @param id a number the caller chooses, unique among its pending operations
   * @param flags of {@link postFlag}; default none
   * @returns the method of the outcome (see onOutcomes) when that was a success and is here already: then onOutcomes does
   * not tell it
   * @throws before anything is sent, and then there is no outcome: outOfBounds, remoteAccess (the grant has not that
   * right), notDurable, limitReached, localClosed
   */
  post(id: number, operation: NativeOperation, flags?: number): number | undefined
  /**
   * Posts several operations of one kind, and of one `until`, together: in one crossing and one transmission, with one read
   * that makes all writes visible, or one flush. They have one outcome, which is told for each of them.
   * @param firstId of the first; each of the others has the number behind the one before it
   * @param operations at most 4096
   * @throws as post, for all of them
   */
  postGroup(firstId: number, operations: readonly NativeOperation[], flags: number): void
  close(): void
}

export interface NativeSessionHandler {
  onOpen(welcome: { session: bigint; heartbeatMs: number; unitStart: bigint }): void
  /** Another connection has taken the place of one that had become silent or had broken: why. */
  onMoved(code: number, message: string, systemError: number): void
  onFenced(handle: bigint, epoch: bigint): void
  onClosed(code: number, message: string, systemError: number): void
}

export interface NativeSessionChannel {
  close(): void
}

export interface NativePeerOptions {
  transport: 'iwarp' | 'verbs'
  /** Numeric addresses; port 0 of `listen` takes any. */
  listen: { host: string; port: number }
  partner: { host: string; port: number }
  name: string
  secret?: Uint8Array
}

/** `Error` of `native/base/result.h`. */
export interface NativeFailure {
  code: number
  message: string
  systemError: number
}

export interface NativePeerHandler {
  /** `partner` of linked and lost, `failure` of lost and problem; the others are zeros. At most 64 wait to be told. */
  onChange(kind: 'linked' | 'lost' | 'problem', partner: string, failure: NativeFailure): void
}

/** The partner's status block; clocks are milliseconds since its link was started. */
export interface NativePeerStatus {
  version: number
  bootId: string
  state: string
  epoch: bigint
  progress: bigint
  clockMs: number
  turnedMs: number
}

/** `PeerReport` of `native/peer/peer_link.h`. */
export interface NativePeerReport {
  bootId: string
  linked: boolean
  partner?: string
  attempts: number
  links: number
  refusals: number
  problem?: NativeFailure
  startedAtMs: number
  linkedAtMs?: number
  connected: boolean
  stepMs: number[]
}

/** `native/peer/peer_link.h`: on a thread of its own, which never holds the process open; a pending status() does. */
export interface NativePeerLink {
  /** host:port that it listens on. */
  readonly address: string
  publish(state: string, epoch: bigint, progress: bigint): void
  /** One RDMA read, answered within a second. */
  status(): Promise<NativePeerStatus>
  report(): NativePeerReport
  close(): Promise<void>
}
