/** A pool file is damaged while its unit is stopped: what readers, followers and the next owner of a log make of it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Client, connect, type LogEvent, PersistentMemoryUnit } from '../../src/index.js'

const folder = mkdtempSync(path.join(tmpdir(), 'rc-checkpoint-damage-'))
const base = path.join(folder, 'whole')
const count = 60
const regionBytes = 64 * 1024
/** Offsets in the pool file. */
let region = 0
const headers: number[] = []

beforeAll(async () => {
  const unit = await PersistentMemoryUnit.start({ pool: { medium: 'file', path: base, bytes: 16 << 20, create: true } })
  const client = await connect(unit.address)
  const log = (await client.createRegion('r', { bytes: regionBytes })).log()
  for (let number = 1; number <= count; number++) await log.append(Buffer.alloc(300, number))
  await client.close()
  await unit.close()
  const bytes = readFileSync(base)
  for (let at = bytes.indexOf('RCKR'); at >= 0; at = bytes.indexOf('RCKR', at + 1)) headers.push(at)
  expect(headers).toHaveLength(count)
  region = (headers[0] as number) - 4096
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function damaged(damage: (bytes: Buffer) => void, look: (client: Client) => Promise<void>): Promise<void> {
  const file = path.join(folder, 'damaged')
  const bytes = readFileSync(base)
  damage(bytes)
  writeFileSync(file, bytes)
  const unit = await PersistentMemoryUnit.start({ pool: { medium: 'file', path: file } })
  const client = await connect(unit.address)
  try {
    await look(client)
  } finally {
    await client.close()
    await unit.close()
  }
}

async function sequencesOf(client: Client): Promise<number[]> {
  const reader = (await client.openRegion('r')).checkpoints()
  return (await reader.all()).map(({ sequence }) => Number(sequence))
}

const all = Array.from({ length: count }, (_, index) => index + 1)
const flip = (bytes: Buffer, at: number) => bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)

test.each([0, 1])(
  'a log of which copy %i of the metadata is lost is read whole, and the next owner mends it',
  async (copy) => {
    const start = copy === 0 ? region : region + regionBytes - 4096
    const lose = (bytes: Buffer) => {
      expect(bytes.subarray(start + 256, start + 260).toString()).toBe('RCKD')
      bytes.fill(0, start, start + 4096)
    }
    await damaged(lose, async (client) => {
      const mended: LogEvent[] = []
      client.addEventListener('log-mended', (event) => mended.push(event))
      expect(await sequencesOf(client)).toEqual(all)
      const { sequence } = await (await client.openRegion('r', { mode: 'write' })).log().append(Buffer.alloc(10))
      expect(sequence).toBe(BigInt(count + 1))
      expect(mended).toMatchObject([{ region: 'r', mended: { rebuilt: false } }])
      expect(await sequencesOf(client)).toEqual([...all, count + 1])
    })
  },
)

test('the newest of a log whose client was closed is named when it is damaged, and its number is not used again', async () => {
  const lose = (bytes: Buffer) => flip(bytes, (headers[count - 1] as number) + 60)
  await damaged(lose, async (client) => {
    const found: LogEvent[] = []
    client.addEventListener('log-damaged', (event) => found.push(event))
    const reader = (await client.openRegion('r')).checkpoints()
    const range = { from: BigInt(count), to: BigInt(count) }
    const refused = { code: 'CHECKPOINT_DAMAGED', details: { ...range, newest: BigInt(count - 1) } }
    await expect(reader.latest()).rejects.toMatchObject(refused)
    await expect(reader.all()).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED', details: range })
    await expect(reader.at(BigInt(count))).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED' })
    expect(await reader.latest({ beforeDamage: true })).toMatchObject({ sequence: BigInt(count - 1), damaged: range })
    expect((await reader.list()).at(-1)).toMatchObject({ damaged: true, sequence: range.from, through: range.to })
    const { sequence } = await (await client.openRegion('r', { mode: 'write' })).log().append(Buffer.alloc(10))
    expect(sequence).toBe(BigInt(count + 1))
    expect(found).toMatchObject([{ region: 'r', range }])
    expect((await reader.latest())?.sequence).toBe(sequence)
    expect((await reader.list()).at(-2)).toMatchObject({ damaged: true, sequence: range.from })
  })
})

test('followers and readers go on behind a damaged record with the cursor of the error', async () => {
  const lost = count / 2
  const lose = (bytes: Buffer) => flip(bytes, (headers[lost - 1] as number) + 60)
  await damaged(lose, async (client) => {
    const reader = (await client.openRegion('r')).checkpoints()
    const details = { from: BigInt(lost), to: BigInt(lost) }
    const error = await reader.all().catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'CHECKPOINT_DAMAGED', details })
    const { cursor } = (error as { details: { cursor: { region: string; epoch: bigint; sequence: bigint } } }).details
    const behind: number[] = []
    for await (const { sequence } of reader.unread(cursor)) behind.push(Number(sequence))
    expect(behind).toEqual(all.slice(lost))
    const follow = reader.follow({ from: 'oldest' })
    for (const number of all.slice(0, lost - 1)) expect((await follow.next()).value?.sequence).toBe(BigInt(number))
    await expect(follow.next()).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED', details })
    await using further = reader.follow({ from: cursor })
    for (const number of all.slice(lost)) expect((await further.next()).value?.sequence).toBe(BigInt(number))
    expect((await reader.latest())?.sequence).toBe(BigInt(count))
  })
})
