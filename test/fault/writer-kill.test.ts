// A writer dies at any moment; whoever reads afterwards, or at that moment, sees whole checkpoints only.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Client, connect, type RegionReader } from '../../src/index.js'
import { rounds, seedOf } from './support/long.js'
import { authorOf, checkOrder } from './support/payload.mjs'
import { Random } from './support/random.mjs'
import { temporaryFolder, UnitProcess, within } from './support/unit-process.js'

const kills = rounds({ long: 200, ci: 12 })
const maxBytes = 64 * 1024
const mostInFlight = 4
const writerProgram = fileURLToPath(new URL('support/writer.mjs', import.meta.url))

interface Writer {
  child: ChildProcess
  writing: Promise<unknown>
  lastAcknowledged: { sequence: bigint; number: number }
  acknowledged: number
  ended: Promise<unknown>
  complaints: string
}

function startWriter(assignment: object): Writer {
  const child = spawn(process.execPath, [writerProgram, JSON.stringify(assignment)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines = createInterface({ input: child.stdout })
  let writing = (): void => {}
  const writer: Writer = {
    child,
    writing: new Promise<void>((resolve) => {
      writing = resolve
    }),
    lastAcknowledged: { sequence: 0n, number: 0 },
    acknowledged: 0,
    // 'close' comes after the last line was read.
    ended: Promise.all([once(lines, 'close'), once(child, 'close')]),
    complaints: '',
  }
  lines.on('line', (line) => {
    const [word, sequence, number] = line.split(' ')
    if (word === 'writing') writing()
    if (word !== 'ack' || sequence === undefined) return
    writer.acknowledged++
    const now = { sequence: BigInt(sequence), number: Number(number) }
    if (now.sequence > writer.lastAcknowledged.sequence) writer.lastAcknowledged = now
  })
  child.stderr.on('data', (text: Buffer) => {
    writer.complaints += text.toString()
  })
  return writer
}

const folder = temporaryFolder()
let unit: UnitProcess
let client: Client

beforeAll(async () => {
  unit = await UnitProcess.start({
    pool: { medium: 'file', path: `${folder}/pool`, bytes: 16 * 1024 * 1024 },
  })
  client = await connect(unit.address)
})
afterAll(async () => {
  await client?.close()
  await unit?.kill()
  rmSync(folder, { recursive: true, force: true })
})

for (const mode of ['append', 'overwrite'] as const) {
  test(`${mode}: ${kills} writers killed at random moments leave whole checkpoints, the last acknowledged one among them`, async () => {
    const seed = seedOf(`writer-kill ${mode}`)
    const random = new Random(seed, mode.length)
    const created = await client.createRegion(mode, { bytes: 1024 * 1024, mode })
    await created.close()
    const region = await client.openRegion(mode)
    const checkpoints = region.checkpoints()
    let lastAcknowledged = { sequence: 0n, round: 0, number: 0 }
    let acknowledged = 0
    let overheard = 0

    for (let round = 1; round <= kills; round++) {
      const depth = random.pick([1, 1, mostInFlight])
      const writer = startWriter({ unit: unit.address, region: mode, seed, round, maxBytes, depth })
      const watching = new AbortController()
      const watched = watch(region, seed, watching.signal)
      // Its failure is looked at when the writer is dead.
      watched.catch(() => {})
      // One in ten dies while it starts, the others while they write.
      if (random.chance(0.9)) {
        await within(Promise.race([writer.writing, writer.ended]), 30_000, `round ${round}: start of the writer`)
        await sleep(random.integer(0, 250))
      } else await sleep(random.integer(0, 400))
      writer.child.kill('SIGKILL')
      await within(writer.ended, 10_000, `round ${round}: end of the writer`)
      watching.abort()
      overheard += await watched
      expect(writer.complaints, `round ${round}: the writer failed by itself`).toBe('')
      acknowledged += writer.acknowledged
      if (writer.acknowledged > 0) lastAcknowledged = { round, ...writer.lastAcknowledged }

      const authors = checkOrder(await checkpoints.all(), seed, maxBytes, mode === 'append')
      const latest = await checkpoints.latest()
      expect(latest?.sequence, `round ${round}`).toBe(authors.at(-1)?.sequence)
      if (lastAcknowledged.sequence === 0n) continue
      expect(latest!.sequence, `round ${round}: acknowledged, and gone`).toBeGreaterThanOrEqual(
        lastAcknowledged.sequence,
      )
      // Beyond the last acknowledged one there may be those that were on their way, and no others.
      const newest = authors.at(-1)!
      const settled = newest.round === lastAcknowledged.round ? lastAcknowledged.number : 0
      const told = `${writer.acknowledged} acknowledged, the last as ${lastAcknowledged.sequence}; ${mostInFlight} at a time at most`
      expect(newest.number - settled, `round ${round}: nobody appended it (${told})`).toBeLessThanOrEqual(mostInFlight)
      const kept = authors.find(({ sequence }) => sequence === lastAcknowledged.sequence)
      if (mode === 'append') expect(kept, `round ${round}: the last acknowledged one`).toBeDefined()
      if (kept) expect(kept).toEqual(lastAcknowledged)
      const { sequence } = kept ?? newest
      expect(authorOf(await checkpoints.at(sequence), seed, maxBytes)).toMatchObject({ round: (kept ?? newest).round })
    }
    console.log(`writer-kill ${mode}: ${kills} kills, ${acknowledged} acknowledged, ${overheard} read meanwhile`)
    expect(acknowledged).toBeGreaterThan(kills)
    await region.close()
  })
}

/** Reads the newest checkpoint over and over while the writer writes and dies. Returns how many it saw. */
async function watch(region: RegionReader, seed: number, stop: AbortSignal): Promise<number> {
  const checkpoints = region.checkpoints()
  let seen = 0
  let newest = 0n
  while (!stop.aborted) {
    const latest = await checkpoints.latest()
    if (latest !== undefined) {
      // Throws when it is anything but whole.
      authorOf(latest, seed, maxBytes)
      expect(latest.sequence, 'the newest checkpoint went back').toBeGreaterThanOrEqual(newest)
      newest = latest.sequence
      seen++
    }
    await sleep(1)
  }
  return seen
}
