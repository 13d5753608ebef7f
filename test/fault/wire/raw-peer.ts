// One TCP connection to a unit's data plane, spoken by hand.
import net from 'node:net'
import { within } from '../support/unit-process.js'
import { connectData, connectionKind, type Grant, hello, parseGrant } from './messages.js'
import { encodeFpdu, encodeRequest, parseFpdu, parseReply, type Reply, type SetUp } from './mpa.js'
import { encodeReadRequest, encodeTagged, encodeUntagged, opcode, parseSegment, queue, terminateCode } from './rdmap.js'

/** A key and address of our own, named as the place where a read's answer goes. */
const sink = { key: 0x5eed, address: 0n }

export class RawPeer {
  readonly #socket: net.Socket
  #stream: Buffer = Buffer.alloc(0)
  #changed = (): void => {}
  reply: Reply | undefined
  /** Sends of the unit, in order. */
  readonly messages: Buffer[] = []
  /** Bytes of read responses. */
  readBytes = 0
  readonly reads: Buffer[] = []
  #reading: Buffer[] = []
  terminated: string | undefined
  closed = false
  /** What the unit itself did wrong. */
  fault: Error | undefined
  #sendMsn = 1
  #readMsn = 1

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (bytes) => {
      this.#stream = this.#stream.length === 0 ? bytes : Buffer.concat([this.#stream, bytes])
      try {
        this.#parse()
      } catch (error) {
        this.fault = error instanceof Error ? error : new Error(String(error))
        socket.destroy()
      }
      this.#changed()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.#changed()
    })
  }

  static async connect(address: string): Promise<RawPeer> {
    const colon = address.lastIndexOf(':')
    const socket = net.connect(Number(address.slice(colon + 1)), address.slice(0, colon).replace(/^\[|\]$/g, ''))
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return new RawPeer(socket)
  }

  /** A whole, valid set-up: returns the grant. */
  static async open(address: string, token: Uint8Array): Promise<{ peer: RawPeer; grant: Grant }> {
    const peer = await RawPeer.connect(address)
    await peer.setUp({ privateData: connectData(connectionKind.data, token) })
    peer.send(hello())
    await peer.until(() => peer.messages.length > 0, 'the grant')
    return { peer, grant: parseGrant(peer.messages[0]!) }
  }

  async setUp(setUp: SetUp): Promise<Reply> {
    this.write(encodeRequest(setUp))
    await this.until(() => this.reply !== undefined, 'the MPA reply')
    return this.reply!
  }

  write(bytes: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes)
  }

  writeFpdu(ulpdu: Uint8Array): void {
    this.write(encodeFpdu(ulpdu))
  }

  send(payload: Uint8Array): void {
    this.writeFpdu(encodeUntagged({ opcode: opcode.send, queue: queue.send, msn: this.#sendMsn++, payload }))
  }

  get nextSendMsn(): number {
    return this.#sendMsn
  }

  get nextReadMsn(): number {
    return this.#readMsn
  }

  rdmaWrite(key: number, address: bigint, payload: Uint8Array): void {
    this.writeFpdu(encodeTagged({ opcode: opcode.write, key, address, payload }))
  }

  requestRead(key: number, address: bigint, length: number): void {
    const request = { sinkKey: sink.key, sinkAddress: sink.address, length, sourceKey: key, sourceAddress: address }
    this.writeFpdu(
      encodeUntagged({
        opcode: opcode.readRequest,
        queue: queue.readRequest,
        msn: this.#readMsn++,
        payload: encodeReadRequest(request),
      }),
    )
  }

  async read(key: number, address: bigint, length: number): Promise<Buffer> {
    const already = this.reads.length
    this.requestRead(key, address, length)
    await this.until(() => this.reads.length > already, 'a read response')
    return this.reads[already]!
  }

  /** Waits for a condition; fails when the connection ends before it holds. */
  async until(condition: () => boolean, what: string, ms = 10_000): Promise<void> {
    await this.#wait(() => condition() || this.closed, what, ms)
    if (!condition()) throw new Error(`the unit closed before ${what} (terminate: ${this.terminated ?? 'none'})`)
  }

  /** Waits until the unit has closed the connection; answers the Terminate that came before, if one did. */
  async ended(ms = 10_000): Promise<string | undefined> {
    await this.#wait(() => this.closed, 'the unit closes the connection', ms)
    if (this.fault) throw this.fault
    return this.terminated
  }

  /** Whether the unit has closed the connection or answers a read of nothing: mutated frames may do no harm. */
  async settled(): Promise<'closed' | 'alive'> {
    const already = this.reads.length
    this.requestRead(0, 0n, 0)
    await this.#wait(() => this.closed || this.reads.length > already, 'an answer or an end', 10_000)
    if (this.fault) throw this.fault
    return this.closed ? 'closed' : 'alive'
  }

  /** Stops taking what the unit sends. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  reset(): void {
    this.#socket.resetAndDestroy()
  }

  async #wait(condition: () => boolean, what: string, ms: number): Promise<void> {
    if (condition()) return
    const met = new Promise<void>((resolve) => {
      this.#changed = () => {
        if (condition()) resolve()
      }
    })
    await within(met, ms, what)
  }

  #parse(): void {
    if (this.reply === undefined) {
      this.reply = parseReply(this.#stream)
      if (this.reply === undefined) return
      this.#stream = this.#stream.subarray(this.reply.bytes)
    }
    for (let fpdu = parseFpdu(this.#stream); fpdu !== undefined; fpdu = parseFpdu(this.#stream)) {
      this.#stream = this.#stream.subarray(fpdu.bytes)
      const segment = parseSegment(fpdu.ulpdu)
      if (segment === undefined) throw new Error(`the unit sent a frame too short for a header`)
      if (segment.opcode === opcode.terminate) this.terminated = terminateCode(segment.payload)
      else if (segment.opcode === opcode.send) this.messages.push(Buffer.from(segment.payload))
      else if (segment.opcode === opcode.readResponse) {
        this.readBytes += segment.payload.length
        this.#reading.push(Buffer.from(segment.payload))
        if (!segment.last) continue
        this.reads.push(Buffer.concat(this.#reading))
        this.#reading = []
      } else throw new Error(`the unit sent opcode ${segment.opcode}`)
    }
  }
}
