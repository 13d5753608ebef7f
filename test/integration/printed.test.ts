import { inspect } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Secret } from '../../src/call/printed.js'
import { ControlChannel } from '../../src/control/channel.js'
import { type Client, connect, json, PersistentMemoryUnit, ProcessPair, type Region } from '../../src/index.js'
import { Peer } from '../../src/peer/peer.js'

/** What nobody may read: tokens and secrets, as texts in which they would be printed. */
const secrets: string[] = []
let unit: PersistentMemoryUnit
let client: Client
let region: Region

beforeAll(async () => {
  const call = ControlChannel.prototype.call
  vi.spyOn(ControlChannel.prototype, 'call').mockImplementation(async function (
    this: ControlChannel,
    ...parameters: Parameters<typeof call>
  ) {
    const reply = await call.apply(this, parameters)
    const { token, ownerSecret } = reply as { token?: Uint8Array; ownerSecret?: Uint8Array }
    for (const bytes of [token, ownerSecret]) if (bytes !== undefined && bytes.length > 0) noteSecret(bytes)
    return reply
  } as typeof call)
  unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 16 << 20 } })
  client = await connect(unit.address)
  region = await client.createRegion('printed', { bytes: 1 << 20 })
})
afterAll(async () => {
  await client.close()
  await unit.close()
  vi.restoreAllMocks()
})

function noteSecret(bytes: Uint8Array): void {
  const part = bytes.subarray(0, 12)
  secrets.push(Buffer.from(part).toString('hex'), Buffer.from(part).toString('base64'))
  // As util.inspect prints a Buffer and an array of bytes.
  secrets.push(
    [...part].map((byte) => byte.toString(16).padStart(2, '0')).join(' '),
    [...part].join(', '),
    [...part].join(','),
  )
}

function expectNoSecret(text: string): void {
  const flat = text.replace(/\s+/g, ' ')
  for (const secret of secrets) expect(flat).not.toContain(secret)
}

const ways = [
  {},
  { depth: 0 },
  { depth: Number.POSITIVE_INFINITY },
  { depth: null, showHidden: true },
  { depth: Number.POSITIVE_INFINITY, showHidden: true, getters: true, maxArrayLength: null },
  { depth: Number.POSITIVE_INFINITY, showHidden: true, getters: true, customInspect: false, maxArrayLength: null },
]

test('what users hold can be printed and logged, and shows no secret in any way of printing it', async () => {
  const log = region.log({ codec: json })
  const appended = await log.append({ step: 1 })
  const reader = await client.openRegion('printed')
  const checkpoints = reader.checkpoints({ codec: json })
  const follow = checkpoints.follow({ from: 'oldest' })
  const first = await follow.next()
  const pair = new ProcessPair(unit.address, { region: 'other', onPrimary: async () => undefined })
  const events: Event[] = []
  pair.addEventListener('role', (event) => events.push(event))
  const peerSecret = Buffer.from('this is what only the two know')
  noteSecret(peerSecret)
  const peer = Peer.start({ listen: '127.0.0.1:0', partner: '127.0.0.1:9', secret: peerSecret })
  const watch = client.watch('printed')
  const event = (await watch.next()).value
  await watch.return?.()
  const regions = []
  for await (const info of client.regions()) regions.push(info)
  const busy = await client.openRegion('printed', { mode: 'write' }).catch((error: unknown) => error)
  await peer[Symbol.asyncDispose]()
  await pair[Symbol.asyncDispose]()
  const held = {
    unit,
    client,
    region,
    reader,
    log,
    checkpoints,
    follow,
    pair,
    peer,
    appended,
    ack: await region.write(65_536 * 8, new Uint8Array(1)),
    checkpoint: first.value,
    infos: await checkpoints.list(),
    regions,
    metadata: await reader.metadata(),
    address: await reader.addressContext(),
    status: [await client.status(), await unit.status()],
    lag: follow.lag,
    cursor: follow.cursor,
    event,
    events,
    busy,
    fenced: region.fenced,
  }
  expect(secrets.length).toBeGreaterThan(20)
  for (const [name, value] of Object.entries(held)) {
    for (const way of ways) expectNoSecret(inspect(value, way))
    const text = JSON.stringify(value)
    expectNoSecret(text)
    if (name !== 'fenced') expect(text.length, name).toBeGreaterThan(10)
  }
  // To be posted to a worker, a plain answer has no function among what it holds; so a spread does not copy toJSON.
  for (const answer of [held.ack, held.appended, held.status[0], held.metadata, held.address, regions[0]]) {
    expect(structuredClone(answer)).toEqual(answer)
    expect(Object.keys({ ...answer })).not.toContain('toJSON')
    expect(JSON.parse(JSON.stringify({ more: 1, answer }))).toEqual({
      more: 1,
      answer: JSON.parse(JSON.stringify(answer)),
    })
  }
  expectNoSecret(inspect(held, { depth: Number.POSITIVE_INFINITY, showHidden: true }))
  expect(inspect(region)).toContain("Region {\n  name: 'printed',")
  expect(inspect(log)).toBe(
    `CheckpointLog {\n  region: 'printed',\n  id: '${region.id}',\n  mode: 'append',\n  codec: 'json (codec 1)'\n}`,
  )
  expect(inspect(client)).toContain("regions: [ 'printed', 'printed' ]")
  expect(inspect({ a: { b: { c: { region } } } })).toContain('[Object]')
  await follow.return()
  await reader.close()
})

test('in JSON numbers of 64 bits are texts, and everything else is as it is', async () => {
  const ack = await region.log({ codec: json }).append({ step: 2 }, { durability: 'visible' })
  expect(JSON.parse(JSON.stringify(ack))).toEqual({
    durability: 'visible',
    method: 'none',
    epoch: String(ack.epoch),
    sequence: String(ack.sequence),
  })
  expect(Object.keys(ack).sort()).toEqual(['durability', 'epoch', 'method', 'sequence'])
  expect(structuredClone(ack)).toEqual(ack)
  const latest = await region.checkpoints({ codec: json }).latest()
  expect(JSON.parse(JSON.stringify(latest))).toMatchObject({ sequence: String(ack.sequence), value: { step: 2 } })
  expect(JSON.parse(JSON.stringify(latest?.cursor))).toEqual({
    region: region.id,
    epoch: '1',
    sequence: String(ack.sequence),
  })
  expect(JSON.parse(JSON.stringify(await client.status()))).toMatchObject({ bytes: String(16 << 20), regions: 1 })
  expect(JSON.parse(JSON.stringify(region))).toMatchObject({ name: 'printed', size: '1048576', fenced: false })
  const raw = (await region.checkpoints({ codec: json }).list())[0]
  expect(JSON.parse(JSON.stringify(raw))).toMatchObject({ sequence: '1', writtenAt: expect.stringMatching(/Z$/) })
})

test('a secret shows itself to nobody', () => {
  const secret = new Secret(Buffer.from('what only the two know'))
  for (const way of ways.filter((one) => one.customInspect !== false))
    expect(inspect({ secret }, way)).toContain('[secret]')
  expect(JSON.stringify({ secret })).toBe('{"secret":"[secret]"}')
  expect(`${secret}`).toBe('[secret]')
  expect(structuredClone(secret)).toEqual({})
  expect(Object.values(secret)).toEqual([])
})
