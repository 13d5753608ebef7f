import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { builtIndex, nextMessage, pickSeed, randomFrom, startChild, withFolder } from './client-support.js'

const pairs = 8
const restarts = Number(process.env.RC_RESTARTS ?? (process.env.RC_LONG === '1' ? 63 : 1))

interface Told {
  number: number
  role?: string
  epoch?: string
  alive?: boolean
}

/** A process with one end of each pair. */
class Ends {
  readonly roles: string[] = []
  readonly epochs: string[] = []
  readonly changes: string[] = []
  readonly alive = new Set<number>()
  readonly child: ChildProcess

  constructor(address: string) {
    this.child = startChild('pairs.js', builtIndex, address, String(pairs))
    this.child.on('message', (message) => {
      const { number, role, epoch = '' } = message as Told
      if (role === undefined) this.alive.add(number)
      else {
        this.roles[number] = role
        this.epochs[number] = epoch
        this.changes.push(`${number} ${role} ${epoch}`)
      }
    })
  }

  are(role: string): boolean {
    return this.roles.filter((each) => each === role).length === pairs
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + 60_000
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what} did not come true within a minute`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test(
  `a primary that lives keeps its region over a restart of the unit, ${pairs * restarts} times, beside a busy core`,
  async () => {
    const seed = pickSeed()
    console.log(`seed ${seed}`)
    const random = randomFrom(seed)
    const load = new Worker('for (;;) {}', { eval: true })
    try {
      await withFolder(async (folder) => {
        const pool = path.join(folder, 'pool')
        const start = async (listen: string) => {
          const child = startChild('unit.js', builtIndex, listen, pool)
          return { child, address: (await nextMessage<{ address: string }>(child)).address }
        }
        let unit = await start('127.0.0.1:0')
        const { address } = unit
        const primaries = new Ends(address)
        await until('every region has a primary', () => primaries.are('primary'))
        const standbys = new Ends(address)
        await until('every region has a standby', () => standbys.are('standby'))
        const before = [...primaries.epochs]
        for (let restart = 0; restart < restarts; restart++) {
          primaries.changes.length = 0
          standbys.changes.length = 0
          unit.child.kill(random() < 0.5 ? 'SIGKILL' : 'SIGTERM')
          await once(unit.child, 'exit')
          await new Promise((resolve) => setTimeout(resolve, random() * 3000))
          unit = await start(address)
          primaries.alive.clear()
          await until('every primary goes on', () => primaries.alive.size === pairs || primaries.changes.length > 0)
          // No owner is awaited any more by then.
          await new Promise((resolve) => setTimeout(resolve, 3500))
          expect([primaries.changes, standbys.changes], `restart ${restart}`).toEqual([[], []])
          if (restart % 10 === 9) console.log(`${pairs * (restart + 1)} owners kept their regions so far`)
        }
        expect(primaries.epochs).toEqual(before)
        for (const { child } of [primaries, standbys]) {
          child.disconnect()
          await once(child, 'exit')
        }
        unit.child.kill('SIGKILL')
        await once(unit.child, 'exit')
      })
    } finally {
      await load.terminate()
    }
  },
  120_000 + restarts * 60_000,
)
