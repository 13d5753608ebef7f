// A peer that keeps none of the rules gets a Terminate or a closed connection, and nothing else: the unit goes on
// serving others, leaks nothing, and no byte changes that the peer had no right to.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Client, connect, type Region } from '../../src/index.js'
import { rounds, seedOf } from './support/long.js'
import { Random } from './support/random.mjs'
import { UnitProcess, within } from './support/unit-process.js'
import { RawSession } from './wire/control.js'
import { connectData, connectionKind, flush, type Grant, hello, messageType, typeOf } from './wire/messages.js'
import { encodeFpdu, encodeRequest, mpaFlags } from './wire/mpa.js'
import { addressed, mutate, type Target, validFrame } from './wire/mutations.js'
import { RawPeer } from './wire/raw-peer.js'
import { encodeReadRequest, encodeTagged, encodeUntagged, opcode, queue } from './wire/rdmap.js'

const regionBytes = 64 * 1024
const largeBytes = 8 * 1024 * 1024
/** Regions of others, made before and after the peer's own, so that they lie on both sides of it in the pool. */
const bystanders = ['before', 'after'] as const

let unit: UnitProcess
let client: Client
let session: RawSession
let witness: Witness
const contents = new Map<string, Buffer>()

/** A well-behaved client that works all along; the slowest of its round trips shows whether it was served. */
class Witness {
  readonly #region: Region
  #stopped = false
  #failure: unknown
  readonly #loop: Promise<void>
  turns = 0
  slowestMs = 0

  constructor(region: Region) {
    this.#region = region
    this.#loop = this.#run().catch((error: unknown) => {
      this.#failure = error
    })
  }

  async #run(): Promise<void> {
    const random = new Random(4711)
    while (!this.#stopped) {
      const bytes = random.fill(new Uint8Array(random.logUniform(1, 8192)))
      const offset = random.integer(0, regionBytes - bytes.length)
      const begin = performance.now()
      await this.#region.write(offset, bytes, { timeoutMs: 10_000 })
      const back = await this.#region.read(offset, bytes.length, { timeoutMs: 10_000 })
      if (!Buffer.from(back).equals(bytes)) throw new Error('the witness read other bytes than it wrote')
      this.slowestMs = Math.max(this.slowestMs, performance.now() - begin)
      this.turns++
      await sleep(2)
    }
  }

  async check(): Promise<void> {
    const before = this.turns
    await within(
      (async () => {
        while (this.turns < before + 2 && this.#failure === undefined) await sleep(2)
      })(),
      10_000,
      'two round trips of the well-behaved client',
    )
    expect(this.#failure).toBeUndefined()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#loop
    expect(this.#failure).toBeUndefined()
  }
}

beforeAll(async () => {
  const collects = new URL('support/collects.mjs', import.meta.url).href
  unit = await UnitProcess.start({
    pool: { medium: 'memory', bytes: 32 * 1024 * 1024 },
    env: { NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import ${collects}` },
  })
  client = await connect(unit.address)
  session = await RawSession.open(unit.address)
  for (const name of ['before', 'own', 'readable', 'other', 'after']) {
    const region = await client.createRegion(name, { bytes: regionBytes, mode: 'raw' })
    const bytes = randomBytes(regionBytes)
    await region.write(0, bytes)
    contents.set(name, bytes)
    await region.close()
  }
  await (await client.createRegion('large', { bytes: largeBytes, mode: 'raw' })).close()
  witness = new Witness(await client.createRegion('witness', { bytes: regionBytes, mode: 'raw' }))
})
afterAll(async () => {
  await session?.close()
  await client?.close()
  await unit?.kill()
})

async function contentOf(name: string): Promise<Buffer> {
  const region = await client.openRegion(name)
  const bytes = Buffer.from(await region.read(0, regionBytes))
  await region.close()
  return bytes
}

async function expectUnchanged(names: readonly string[]): Promise<void> {
  for (const name of names) expect((await contentOf(name)).equals(contents.get(name)!), `region ${name}`).toBe(true)
}

interface Open {
  peer: RawPeer
  grant: Grant
  handle: bigint
}

async function open(name: string, mode: 'READ' | 'WRITE'): Promise<Open> {
  const { token, handle } = await session.openRegion(name, mode)
  return { ...(await RawPeer.open(session.data, token)), handle }
}

async function close({ peer, handle }: Open): Promise<void> {
  peer.destroy()
  await session.closeRegion(handle)
}

describe('the set-up', () => {
  const token = async (): Promise<Uint8Array> => (await session.openRegion('readable', 'READ')).token

  async function refused(privateData: Uint8Array): Promise<void> {
    const peer = await RawPeer.connect(session.data)
    const reply = await peer.setUp({ privateData }).catch(() => undefined)
    if (reply && !reply.rejected) peer.send(hello())
    await peer.ended()
    expect(peer.messages.map(typeOf), 'a grant for a token that is none').not.toContain(messageType.grant)
  }

  test('an unknown token is refused', () => refused(connectData(connectionKind.data, randomBytes(32))))

  test('a token works once', async () => {
    const once = await token()
    const { peer } = await RawPeer.open(session.data, once)
    await refused(connectData(connectionKind.data, once))
    expect(await peer.settled()).toBe('alive')
    peer.destroy()
  })

  test('a token of a session connection opens no region, and the other way round', async () => {
    await refused(connectData(connectionKind.data, await session.sessionToken()))
    await refused(connectData(connectionKind.session, await token()))
  })

  test('a token expires', async () => {
    const { token: late } = await session.openRegion('readable', 'READ', { tokenLifeMs: 50 })
    await sleep(200)
    await refused(connectData(connectionKind.data, late))
  })

  test('private data that is short, empty, of another kind or padded with rubbish', async () => {
    const whole = connectData(connectionKind.data, await token())
    await refused(Buffer.alloc(0))
    await refused(whole.subarray(0, 7))
    await refused(whole.subarray(0, whole.length - 1))
    await refused(connectData(77, await token()))
    await refused(Buffer.concat([Buffer.from('XXXX'), whole.subarray(4)]))
    await refused(Buffer.alloc(512, 0xff))
  })

  test('requests that are no MPA requests are closed', async () => {
    const privateData = connectData(connectionKind.data, await token())
    const requests = [
      encodeRequest({ privateData, key: Buffer.from('MPA ID Rep Frame') }),
      encodeRequest({ privateData, key: Buffer.from('GET / HTTP/1.1\r\n') }),
      encodeRequest({ privateData, flags: mpaFlags.crc | mpaFlags.reject }),
      encodeRequest({ privateData, revision: 0 }),
      encodeRequest({ privateData, revision: 255 }),
      encodeRequest({ privateData, privateDataLength: 513 }),
      encodeRequest({ privateData, privateDataLength: 0xffff }),
      encodeRequest({ privateData: Buffer.alloc(0), privateDataLength: 2 }),
      randomBytes(4096),
    ]
    for (const request of requests) {
      const peer = await RawPeer.connect(session.data)
      peer.write(request)
      await peer.ended()
      expect(peer.messages, request.toString('hex', 0, 24)).toEqual([])
    }
  })

  test('silence is closed: from the first byte, within a frame, and after the set-up', async () => {
    const silent = await RawPeer.connect(session.data)
    const halfFrame = await RawPeer.connect(session.data)
    halfFrame.write(encodeRequest({ privateData: connectData(connectionKind.data, await token()) }).subarray(0, 30))
    const noHello = await RawPeer.connect(session.data)
    await noHello.setUp({ privateData: connectData(connectionKind.data, await token()) })
    const begin = performance.now()
    await Promise.all([silent.ended(15_000), halfFrame.ended(15_000), noHello.ended(15_000)])
    expect(performance.now() - begin).toBeGreaterThan(500)
    expect(performance.now() - begin).toBeLessThan(12_000)
  })

  test('a version that the unit does not speak is refused with a message, not a hang', async () => {
    const peer = await RawPeer.connect(session.data)
    await peer.setUp({ privateData: connectData(connectionKind.data, await token()) })
    peer.send(hello(900, 901))
    await peer.until(() => peer.messages.length > 0, 'a refusal')
    expect(typeOf(peer.messages[0]!)).toBe(messageType.refuse)
    await peer.ended()
  })

  test('a stream cut off after any byte of a whole session leaves nothing behind', async () => {
    const { token: fresh } = await session.openRegion('readable', 'READ')
    const whole = Buffer.concat([
      encodeRequest({ privateData: connectData(connectionKind.data, fresh) }),
      encodeFpdu(encodeUntagged({ opcode: opcode.send, queue: queue.send, msn: 1, payload: hello() })),
    ])
    for (let length = 0; length < whole.length; length++) {
      const peer = await RawPeer.connect(session.data)
      peer.write(whole.subarray(0, length))
      if (length % 2 === 0) peer.end()
      else peer.reset()
      await peer.ended()
    }
    await witness.check()
  })
})

interface Violation {
  name: string
  /** layer/type/code of RFC 5040 section 4.8, RFC 5041 section 8.2 and RFC 5044 section 8. */
  terminate: string
  region?: 'own' | 'readable' | 'large'
  commit(open: Open): void | Promise<void>
}

const write = (key: number, address: bigint, payload: Uint8Array, more: object = {}): Buffer =>
  encodeTagged({ opcode: opcode.write, key, address, payload, ...more })
const sendTo = (queueNumber: number, msn: number, payload: Uint8Array, more: object = {}): Buffer =>
  encodeUntagged({ opcode: opcode.send, queue: queueNumber, msn, payload, ...more })
const readOf = (sourceKey: number, sourceAddress: bigint, length: number, msn: number, more: object = {}): Buffer =>
  encodeUntagged({
    opcode: opcode.readRequest,
    queue: queue.readRequest,
    msn,
    payload: encodeReadRequest({ sinkKey: 1, sinkAddress: 0n, length, sourceKey, sourceAddress }),
    ...more,
  })
const some = Buffer.alloc(16, 0xee)

/** Every Terminate that came back, as layer/type/code. */
const observed = new Set<string>()

const violations: Violation[] = [
  {
    name: 'write under a key that does not exist',
    terminate: '1/1/0',
    commit: ({ peer, grant }) => peer.writeFpdu(write((grant.key ^ 0x10101) >>> 0, grant.base, some)),
  },
  {
    name: 'write that begins inside and ends outside',
    terminate: '1/1/1',
    commit: ({ peer, grant }) => peer.writeFpdu(write(grant.key, grant.base + grant.length - 15n, some)),
  },
  {
    name: 'write that begins far outside',
    terminate: '1/1/1',
    commit: ({ peer, grant }) => peer.writeFpdu(write(grant.key, grant.base + 2n ** 40n, some)),
  },
  {
    name: 'write before the beginning',
    terminate: '1/1/1',
    commit: ({ peer, grant }) => peer.writeFpdu(write(grant.key, grant.base - 8n, Buffer.alloc(4))),
  },
  {
    name: 'write whose addresses wrap',
    terminate: '1/1/3',
    commit: ({ peer, grant }) => peer.writeFpdu(write(grant.key, 2n ** 64n - 8n, some)),
  },
  {
    name: 'write without the right to write',
    region: 'readable',
    terminate: '0/1/2',
    commit: ({ peer, grant }) => peer.writeFpdu(write(grant.key, grant.base, some)),
  },
  {
    name: 'read under a key that does not exist',
    terminate: '0/1/0',
    commit: ({ peer, grant }) => peer.writeFpdu(readOf((grant.key ^ 0x10101) >>> 0, grant.base, 16, peer.nextReadMsn)),
  },
  {
    name: 'read that ends outside',
    terminate: '0/1/1',
    commit: ({ peer, grant }) => peer.writeFpdu(readOf(grant.key, grant.base + 1n, regionBytes, peer.nextReadMsn)),
  },
  {
    name: 'read of four gigabytes',
    terminate: '0/1/1',
    commit: ({ peer, grant }) => peer.writeFpdu(readOf(grant.key, grant.base, 0xffffffff, peer.nextReadMsn)),
  },
  {
    name: 'read whose addresses wrap',
    terminate: '0/1/4',
    commit: ({ peer, grant }) => peer.writeFpdu(readOf(grant.key, 2n ** 64n - 8n, 16, peer.nextReadMsn)),
  },
  {
    name: 'frame with a wrong CRC',
    terminate: '2/0/2',
    commit: ({ peer, grant }) => {
      const frame = encodeFpdu(write(grant.key, grant.base, some))
      frame[frame.length - 1]! ^= 0x40
      peer.write(frame)
    },
  },
  {
    name: 'tagged frame of another DDP version',
    terminate: '1/1/4',
    commit: ({ peer, grant }) => peer.writeFpdu(write(grant.key, grant.base, some, { ddpVersion: 2 })),
  },
  {
    name: 'untagged frame of another DDP version',
    terminate: '1/2/6',
    commit: ({ peer }) => peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn, some, { ddpVersion: 0 })),
  },
  {
    name: 'frame of another RDMAP version',
    terminate: '0/2/5',
    commit: ({ peer, grant }) => peer.writeFpdu(write(grant.key, grant.base, some, { rdmapVersion: 2 })),
  },
  {
    name: 'opcode that does not exist',
    terminate: '0/2/6',
    commit: ({ peer }) => peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn, some, { opcode: 12 })),
  },
  {
    name: 'send that invalidates a key that does not exist',
    terminate: '0/1/0',
    commit: ({ peer }) => peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn, hello(), { opcode: 4 })),
  },
  {
    name: 'send that invalidates a key under which a read is on its way',
    region: 'large',
    terminate: '0/1/9',
    commit: async ({ peer, grant }) => {
      // Nobody takes the answers for now, so that they cannot all be sent.
      peer.pause()
      for (let n = 0; n < 8; n++) peer.requestRead(grant.key, grant.base, largeBytes)
      peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn, hello(), { opcode: 4, invalidates: grant.key }))
      await sleep(200)
      peer.resume()
    },
  },
  {
    name: 'read response that nobody asked for',
    terminate: '0/2/6',
    commit: ({ peer }) =>
      peer.writeFpdu(encodeTagged({ opcode: opcode.readResponse, key: 0x123456, address: 0n, payload: some })),
  },
  {
    name: 'read response into the granted region',
    terminate: '0/2/6',
    commit: ({ peer, grant }) =>
      peer.writeFpdu(encodeTagged({ opcode: opcode.readResponse, key: grant.key, address: grant.base, payload: some })),
  },
  {
    name: 'message on a queue that does not exist',
    terminate: '1/2/1',
    commit: ({ peer }) => peer.writeFpdu(sendTo(9, 1, some)),
  },
  {
    name: 'message number far beyond what can be received',
    terminate: '1/2/2',
    commit: ({ peer }) => peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn + 10_000, some)),
  },
  {
    name: 'message number that was skipped',
    terminate: '1/2/3',
    commit: ({ peer }) => peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn + 7, some)),
  },
  {
    name: 'message number that was used',
    terminate: '1/2/3',
    commit: ({ peer }) => peer.writeFpdu(sendTo(queue.send, 1, some)),
  },
  {
    name: 'message that begins in the middle',
    terminate: '1/2/4',
    commit: ({ peer }) => peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn, some, { offset: 100 })),
  },
  {
    name: 'message longer than any that is received',
    terminate: '1/2/5',
    commit: ({ peer, grant }) =>
      peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn, Buffer.alloc(grant.maxMessage + 1))),
  },
  {
    name: 'message that never ends',
    terminate: '1/2/5',
    commit: ({ peer }) => {
      for (let part = 0; part < 8; part++) {
        peer.writeFpdu(sendTo(queue.send, peer.nextSendMsn, Buffer.alloc(1024), { last: false, offset: part * 1024 }))
      }
    },
  },
  {
    name: 'frame too short for a header',
    terminate: '2/0/3',
    commit: ({ peer }) => peer.writeFpdu(Buffer.from([0x41, 0x43, 0, 0, 0])),
  },
  {
    name: 'read request that is too short',
    terminate: '0/2/255',
    commit: ({ peer }) =>
      peer.writeFpdu(
        encodeUntagged({
          opcode: opcode.readRequest,
          queue: queue.readRequest,
          msn: peer.nextReadMsn,
          payload: Buffer.alloc(20),
        }),
      ),
  },
  {
    name: 'read request that is too long',
    terminate: '1/2/5',
    commit: ({ peer }) =>
      peer.writeFpdu(
        encodeUntagged({
          opcode: opcode.readRequest,
          queue: queue.readRequest,
          msn: peer.nextReadMsn,
          payload: Buffer.alloc(64),
        }),
      ),
  },
]

/** Codes of rdmap.h that the side that accepts a connection has no occasion to send. */
const notOfAnAcceptingSide = new Set(['kInsufficientReads'])

describe('violations after the set-up', () => {
  for (const violation of violations) {
    test(`${violation.name}: Terminate ${violation.terminate}, and nothing changes`, async () => {
      const region = violation.region ?? 'own'
      const before = await contentOf(region)
      const opened = await open(region, region === 'own' ? 'WRITE' : 'READ')
      try {
        await violation.commit(opened)
        const terminate = await opened.peer.ended()
        if (terminate) observed.add(terminate)
        expect(terminate).toBe(violation.terminate)
      } finally {
        await close(opened)
      }
      const after = await contentOf(region)
      // A wrong CRC may come after the placing, within the range that the frame addressed.
      const from = violation.terminate === '2/0/2' ? some.length : 0
      expect(after.subarray(from).equals(before.subarray(from))).toBe(true)
      await witness.check()
    })
  }

  test("another connection's key is as good as none", async () => {
    const own = await open('own', 'WRITE')
    const other = await open('other', 'WRITE')
    try {
      // Keys may be equal by chance; then the address decides, which is that of the own region.
      if (own.grant.key !== other.grant.key) {
        own.peer.writeFpdu(write(other.grant.key, other.grant.base, some))
        expect(await own.peer.ended()).toMatch(/^1\/1\/[02]$/)
      } else own.peer.destroy()
      expect(await other.peer.settled()).toBe('alive')
    } finally {
      await close(own)
      await close(other)
    }
    await expectUnchanged(['other'])
  })

  test('more reads at once than were agreed on are refused', async () => {
    const opened = await open('readable', 'READ')
    const { peer, grant } = opened
    for (let n = 0; n < 2_000; n++) peer.requestRead(grant.key, grant.base, 4096)
    // All were sent before any was answered, and the peer has one buffer for each read that was agreed on.
    expect(await peer.ended(20_000)).toBe('1/2/2')
    await close(opened)
    await witness.check()
  })

  test('flush messages that are malformed end the connection, those out of bounds are refused', async () => {
    const range = { offset: 0n, length: 16n }
    const malformed = [
      flush(1n, []),
      flush(1n, [range], 2),
      flush(1n, [range, range], 1),
      flush(1n, [range], 0xffffffff),
      flush(1n, [range]).subarray(0, 30),
      Buffer.alloc(8),
      Buffer.alloc(0),
      Buffer.from('RDCM\xff\xff\x01\x00', 'latin1'),
      hello(),
    ]
    for (const message of malformed) {
      const opened = await open('own', 'WRITE')
      opened.peer.send(message)
      await opened.peer.ended()
      await close(opened)
    }
    for (const outside of [
      { offset: BigInt(regionBytes), length: 1n },
      { offset: 0n, length: BigInt(regionBytes) + 1n },
      { offset: 2n ** 64n - 8n, length: 16n },
    ]) {
      const opened = await open('own', 'WRITE')
      const { peer } = opened
      peer.send(flush(2n, [outside]))
      await peer.until(() => peer.closed || peer.messages.length > 1, 'an answer or an end').catch(() => {})
      const answer = peer.messages[1]
      if (answer) expect(answer.readUInt16LE(16), 'code of the answer').not.toBe(0)
      else expect(peer.closed).toBe(true)
      await close(opened)
    }
    await witness.check()
  })

  test('a connection that stops in the middle of a frame holds up nobody, and goes when its peer goes', async () => {
    const stuck = await Promise.all(Array.from({ length: 20 }, () => open('readable', 'READ')))
    for (const { peer } of stuck) peer.write(Buffer.from([0xff, 0xff, 0xc1]))
    await witness.check()
    for (const opened of stuck) await close(opened)
    await witness.check()
  })
})

test('mutated frames and truncations: the unit answers or closes, serves others, leaks nothing, and keeps what is not the peer’s', async () => {
  const frames = rounds({ long: 10_000, ci: 1_000 })
  const seed = seedOf('hostile-peer')
  const random = new Random(seed)
  const terminates = new Map<string, number>()
  const own = contents.get('own')!
  ;(await contentOf('own')).copy(own)
  let opened: Open | undefined
  let connections = 0

  async function settle(): Promise<{ descriptors: number; threads: number; anonymousKiB: number }> {
    if (opened) await close(opened)
    opened = undefined
    unit.child.kill('SIGUSR2')
    await sleep(500)
    return { descriptors: unit.descriptors, threads: unit.threads, anonymousKiB: unit.anonymousKiB }
  }

  async function attack(count: number): Promise<void> {
    for (let number = 0; number < count; number++) {
      if (opened === undefined) {
        opened = await open('own', 'WRITE')
        connections++
      }
      const { peer, grant } = opened
      const target: Target = { ...grant, sendMsn: peer.nextSendMsn, readMsn: peer.nextReadMsn }
      const frame = mutate(random, validFrame(random, target), number % 2 === 0)
      const bytes = random.chance(0.15) ? frame.subarray(0, random.integer(1, frame.length)) : frame
      // Half of the peers wait for what comes of it, the others go without a word.
      const waits = random.chance(0.5)
      const sent = waits ? completed(bytes) : bytes
      const before = await ownNow()
      peer.write(sent)
      if (!waits) random.chance(0.5) ? peer.reset() : peer.end()
      await peer.ended()
      if (peer.terminated) {
        observed.add(peer.terminated)
        terminates.set(peer.terminated, (terminates.get(peer.terminated) ?? 0) + 1)
      }
      const spent = opened
      opened = undefined
      await close(spent)
      await compare(before, sent, target, number)
    }
  }

  /** Fills up what is missing of a frame and adds one that no state allows, so that the unit must decide. */
  function completed(frame: Buffer): Buffer {
    const claimed = frame.length >= 2 ? Math.ceil((2 + frame.readUInt16BE(0)) / 4) * 4 + 4 : frame.length
    const missing = Buffer.alloc(Math.max(0, claimed - frame.length), 0xa5)
    const absurd = encodeFpdu(encodeUntagged({ opcode: 13, queue: 77, msn: 0, payload: some }))
    return Buffer.concat([frame, missing, absurd])
  }

  const reader = await client.openRegion('own')
  async function ownNow(): Promise<Buffer> {
    return Buffer.from(await reader.read(0, regionBytes))
  }

  async function compare(before: Buffer, sent: Buffer, target: Target, number: number): Promise<void> {
    const after = await ownNow()
    if (after.equals(before)) return
    for (const { from, to } of addressed(sent, target)) after.copy(before, from, from, to)
    const at = before.findIndex((byte, index) => byte !== after[index])
    expect(at, `frame ${number} changed a byte that it did not address: ${sent.toString('hex', 0, 64)}`).toBe(-1)
  }

  const quarters = [await settle()]
  for (let quarter = 0; quarter < 4; quarter++) {
    await attack(frames / 4)
    quarters.push(await settle())
  }
  await reader.close()

  console.log(
    `hostile-peer: ${frames} frames over ${connections} connections; Terminates ${JSON.stringify(
      Object.fromEntries([...terminates].sort()),
    )}; slowest round trip of the well-behaved client ${witness.slowestMs.toFixed(0)} ms; ` +
      `memory in KiB after each quarter: ${quarters.map(({ anonymousKiB }) => anonymousKiB).join(', ')}`,
  )
  for (const { descriptors, threads } of quarters.slice(1)) {
    expect(descriptors).toBe(quarters[0]!.descriptors)
    expect(threads).toBe(quarters[0]!.threads)
  }
  // The unit's process grows to its working size at first. What leaks grows with the connections: in the second half by
  // less than 1 KiB each, beyond the heap's breathing.
  const growth = quarters[4]!.anonymousKiB - quarters[2]!.anonymousKiB
  expect(growth).toBeLessThan(6 * 1024 + frames / 2)
  expect(witness.slowestMs).toBeLessThan(5_000)
  await witness.check()
  await expectUnchanged([...bystanders, 'readable', 'other'])
})

test('every Terminate that the fabric knows was seen', () => {
  const source = readFileSync(fileURLToPath(new URL('../../native/fabric/iwarp/rdmap.h', import.meta.url)), 'utf8')
  const known = [...source.matchAll(/TerminateCode (k\w+)\{(\d), (\d), 0x([0-9a-f]{2})\}/g)].map(
    ([, name, layer, type, code]) => ({ name: name!, code: `${layer}/${type}/${Number.parseInt(code!, 16)}` }),
  )
  expect(known.length).toBeGreaterThan(15)
  const unseen = known.filter(({ name, code }) => !observed.has(code) && !notOfAnAcceptingSide.has(name))
  expect(unseen).toEqual([])
})

test('the well-behaved client was served all along', async () => {
  await witness.stop()
  expect(witness.turns).toBeGreaterThan(100)
})
