/** A primary that only works hard keeps its region, with the leases there are by default and a standby that waits for it. */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Client, connect } from '../../src/index.js'
import { rounds } from '../fault/support/long.js'
import { temporaryFolder, UnitProcess } from '../fault/support/unit-process.js'
import { sleep, Watched } from '../integration/failover-support.js'

const MiB = 1024 * 1024
const seconds = rounds({ long: 60, ci: 6 })
const mapBytes = 66e6
const program = fileURLToPath(new URL('support/hard-worker.mjs', import.meta.url))

/** By default. */
const stallMs = 10_000

interface Done {
  failed?: string
  turns: number
  bytes: number
  longestBlockMs: number
}

let folder: string
let unit: UnitProcess
beforeEach(async () => {
  folder = temporaryFolder()
  unit = await UnitProcess.start({ pool: { medium: 'file', path: `${folder}/pool`, bytes: 512 * MiB } })
})
afterEach(async () => {
  await unit.kill()
  rmSync(folder, { recursive: true, force: true })
})

async function next(client: Client, watched: Watched): Promise<bigint> {
  while (!watched.types.some((type) => type === 'owner-lost' || type === 'released')) await sleep(10)
  const region = await client.openRegion('r', { mode: 'write' })
  return region.epoch
}

test.for([
  ['writes', `1 MiB durable writes at full speed for ${seconds} s`],
  ['serializes', `a ${mapBytes / 1e6} MB map, serialized and restored on every turn for ${seconds} s`],
] as const)('never lost, with another core busy: %s: %s', async ([work], { skip }) => {
  // A core of its own to spin on, if there are two.
  const spinner = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' })
  const assignment = { unit: unit.address, region: 'r', work, ms: seconds * 1000, mapBytes }
  const worker = fork(program, [JSON.stringify(assignment)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  try {
    const [working] = (await once(worker, 'message')) as [object]
    expect(working).toEqual({ working: true })
    await using client = await connect(unit.address)
    const watched = new Watched(client, 'r')
    // Takes the region as soon as the unit gives it away.
    const successor = next(client, watched)
    successor.catch(() => {})
    const [result] = (await once(worker, 'message')) as [Done]
    // What it does when it is done is not asked.
    const types = [...watched.types]
    const rate = Math.round(result.bytes / 1e6 / seconds)
    console.log(
      `${work}: ${result.turns} turns, ${rate} MB/s, event loop blocked for up to ${result.longestBlockMs} ms; ${types}`,
    )
    // A machine that busy shows nothing: that an owner is lost then is what the lease says.
    if (result.longestBlockMs > 0.9 * stallMs) skip(`the event loop stood for ${result.longestBlockMs} ms`)
    expect(result.failed).toBeUndefined()
    expect(types).toEqual(['opened'])
    expect(result.turns).toBeGreaterThan(0)
    expect(await successor, 'of the region that was given up in the end').toBe(2n)
    await watched.stop()
  } finally {
    for (const child of [spinner, worker]) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
    }
  }
})
