import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { Pool } from '../../src/pool/pool.js'
import { seal } from '../../src/pool/structure.js'
import type { UnitOptions } from '../../src/unit/options.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { rounds } from '../fault/support/long.js'
import { temporaryFolder } from '../fault/support/unit-process.js'
import { CrashableMedium } from '../unit/pool-medium.js'
import { ControlClient, eachOf } from './control-client.js'

const MiB = 1 << 20
const manyRegions = rounds({ long: 10_000, ci: 1500 })
const folder = temporaryFolder()
let files = 0
const running: PersistentMemoryUnit[] = []

function newPath(): string {
  return path.join(folder, `pool-${files++}`)
}
async function start(pool: UnitOptions['pool']): Promise<PersistentMemoryUnit> {
  const unit = await PersistentMemoryUnit.start({ pool })
  running.push(unit)
  return unit
}
async function withControl<T>(unit: PersistentMemoryUnit, work: (client: ControlClient) => Promise<T>): Promise<T> {
  const client = await ControlClient.open(unit.address)
  try {
    return await work(client)
  } finally {
    client.close()
  }
}
/** Parses the pool file as it lies there. */
async function parsed(file: string): Promise<Pool> {
  return await Pool.open(new CrashableMedium(readFileSync(file)))
}

afterEach(async () => {
  for (const unit of running.splice(0)) await unit.close()
})

describe('a file pool', () => {
  it('comes back with its regions when the unit is started again', async () => {
    const file = newPath()
    const first = await start({ medium: 'file', path: file, bytes: 8 * MiB, create: true })
    expect(first.promises).toEqual(['visible', 'durable'])
    const made = await withControl(first, async (client) => {
      await client.create('größe/✓', 12_345)
      await client.create('x'.repeat(255), 1)
      await client.call('SaveCursor', { region: 'größe/✓', cursor: { name: 'c', epoch: 1n, sequence: 7n } })
      return await client.list()
    })
    const before = await first.status()
    await first.close()
    const second = await start({ medium: 'file', path: file })
    expect(await withControl(second, (client) => client.list())).toEqual(made)
    const after = await second.status()
    expect(after).toEqual({ ...before, starts: before.starts + 1n })
    expect(before).toMatchObject({ state: 'ready', regions: 2, starts: 1n })
  })

  it('has its space reserved', async () => {
    const file = newPath()
    await start({ medium: 'file', path: file, bytes: 8 * MiB, create: true })
    expect(statSync(file)).toMatchObject({ size: 8 * MiB })
    expect(statSync(file).blocks * 512).toBeGreaterThanOrEqual(8 * MiB)
  })

  it('in use is refused to a second unit, and the first goes on', async () => {
    const file = newPath()
    const unit = await start({ medium: 'file', path: file, bytes: 4 * MiB, create: true })
    await expect(start({ medium: 'file', path: file })).rejects.toMatchObject({ code: 'POOL_IN_USE' })
    await withControl(unit, (client) => client.create('a', 1))
    await unit.close()
    await start({ medium: 'file', path: file })
  })

  it('that is not there, or of another size, is refused with what to do', async () => {
    const file = newPath()
    await expect(start({ medium: 'file', path: file })).rejects.toMatchObject({ code: 'POOL_NOT_FOUND' })
    await (await start({ medium: 'file', path: file, bytes: 4 * MiB, create: true })).close()
    const other = start({ medium: 'file', path: file, bytes: 5 * MiB, create: true })
    await expect(other).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: /4194304.*5242880/ })
    await start({ medium: 'file', path: file, bytes: 4 * MiB, create: true })
  })

  it('gives new regions zeros, whatever lay in their space', async () => {
    const file = newPath()
    const first = await start({ medium: 'file', path: file, bytes: 4 * MiB, create: true })
    await withControl(first, (client) => client.create('old', MiB))
    await first.close()
    const { firstDataOffset } = (await parsed(file)).geometry
    const descriptor = openSync(file, 'r+')
    writeSync(descriptor, Buffer.alloc(4 * MiB - firstDataOffset, 0xee), 0, undefined, firstDataOffset)
    closeSync(descriptor)
    const second = await start({ medium: 'file', path: file })
    await withControl(second, async (client) => {
      const [old] = await client.list()
      await client.call('DeleteRegion', { name: 'old' })
      const made = await client.create('old', MiB)
      expect(made.id).not.toBe(old?.id)
      await client.create('other', 100_000)
    })
    await second.close()
    expect((await parsed(file)).wasClean).toBe(true)
    const image = readFileSync(file)
    for (const { name, extents } of (await parsed(file)).records()) {
      for (const { offset, length } of extents) {
        expect(image.subarray(offset, offset + length).equals(Buffer.alloc(length)), `${name} is zero`).toBe(true)
      }
    }
    expect(image.includes(0xee, firstDataOffset)).toBe(true)
  })
})

describe('a file that is not a whole pool is refused, says why, and stays as it was:', () => {
  async function whole(): Promise<Buffer> {
    const file = newPath()
    const unit = await start({ medium: 'file', path: file, bytes: 4 * MiB, create: true })
    await withControl(unit, (client) => client.create('a', 5000))
    await unit.close()
    return readFileSync(file)
  }
  function smash(image: Buffer, ...offsets: number[]): Buffer {
    for (const offset of offsets) image.fill(0x77, offset + 100, offset + 200)
    return image
  }
  const tableA = 4096
  const cases: [string, (image: Buffer) => Buffer, string, RegExp][] = [
    ['text', () => Buffer.from('Dear diary,\n'.repeat(1000)), 'POOL_DAMAGED', /holds 12000 bytes/],
    [
      'whole blocks of text',
      () => Buffer.alloc(MiB, 'Dear diary,\n'),
      'POOL_DAMAGED',
      /superblock A does not begin with "RDCPPOOL"/,
    ],
    ['zeros', () => Buffer.alloc(4 * MiB), 'POOL_DAMAGED', /both superblocks are zeros/],
    ['a few bytes', () => Buffer.from('x'), 'POOL_DAMAGED', /holds 1 bytes/],
    [
      'a pool cut short',
      (image) => image.subarray(0, 3 * MiB),
      'POOL_DAMAGED',
      /4194304 bytes, but the medium has 3145728/,
    ],
    [
      'both superblocks damaged',
      (image) => smash(image, 0, image.length - 4096),
      'POOL_DAMAGED',
      /superblock B has checksum/,
    ],
    [
      'a later format',
      (image) => {
        image.writeUInt32LE(4, 16)
        seal(image.subarray(0, 4096))
        return image
      },
      'POOL_INCOMPATIBLE',
      /format version 4/,
    ],
  ]
  it.each(cases)('%s', async (_, change, code, message) => {
    const file = newPath()
    writeFileSync(file, change(await whole()))
    const digest = () => createHash('sha256').update(readFileSync(file)).digest('hex')
    const before = [digest(), statSync(file).mtimeMs]
    await expect(start({ medium: 'file', path: file })).rejects.toMatchObject({ code, message })
    expect([digest(), statSync(file).mtimeMs]).toEqual(before)
  })

  it('but one damaged copy of each is mended', async () => {
    const image = await whole()
    const file = newPath()
    writeFileSync(file, smash(image, 0, tableA))
    const unit = await start({ medium: 'file', path: file })
    expect(await withControl(unit, (client) => client.list())).toMatchObject([{ name: 'a' }])
  })

  it.each([
    ['first', 0, 'A'],
    ['last', 4 * MiB - 64 * 1024, 'B'],
  ] as const)('and so is one whose %s 64 KiB are lost, with an event and a log line', async (_, from, copy) => {
    const image = (await whole()).fill(0x77, from, from + 64 * 1024)
    const file = newPath()
    writeFileSync(file, image)
    const lines: string[] = []
    const unit = await PersistentMemoryUnit.start({
      pool: { medium: 'file', path: file },
      log: (level, text, facts) => lines.push(`${level} ${text} ${facts?.what}`),
    })
    running.push(unit)
    const mended: unknown[] = []
    unit.addEventListener('mended', ({ what, because }) => mended.push({ what, because }))
    expect(await withControl(unit, (client) => client.list())).toMatchObject([{ name: 'a' }])
    expect(mended).toContainEqual({ what: 'the superblock', because: expect.stringContaining(`superblock ${copy}`) })
    expect(lines).toContainEqual(expect.stringMatching(/^warn .* the superblock$/))
    await unit.close()
    expect((await parsed(file)).wasClean).toBe(true)
  })
})

describe.each(['file', 'memory'] as const)(`${manyRegions} regions in one %s pool`, (medium) => {
  it('are made, listed, there after a restart, deleted, and their space comes back', async () => {
    const file = newPath()
    const bytes = manyRegions * 16_384 + MiB
    const where = medium === 'file' ? { medium, path: file, bytes, create: true } : { medium, bytes }
    let unit = await start({ ...where, maxRegions: manyRegions })
    const { used } = await unit.status()
    const names = Array.from({ length: manyRegions }, (_, index) => `region/${String(index).padStart(5, '0')}`)
    await withControl(unit, async (client) => {
      await eachOf(names, 32, (name) => client.create(name, 5000))
      await expect(client.create('one too many', 1)).rejects.toMatchObject({ code: 'POOL_FULL' })
      expect((await client.list()).map((region) => region.name)).toEqual(names)
    })
    if (medium === 'file') {
      await unit.close()
      unit = await start({ medium, path: file })
    }
    await withControl(unit, async (client) => {
      expect((await client.list(1000)).map((region) => region.name)).toEqual(names)
      await eachOf(names, 32, (name) => client.call('DeleteRegion', { name }))
      expect(await client.list()).toEqual([])
    })
    expect(await unit.status()).toMatchObject({ used, regions: 0 })
    await withControl(unit, async (client) => client.create('all of it', bytes - Number(used)))
  })
})
