// Flows of the data plane that a firewall forgets: no packet of them arrives any more, and nobody is told.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { namespacesRefused } from '../takeover/namespaces.js'
import { ended } from './client-support.js'

const refused = namespacesRefused()
const quick = process.env.RC_QUICK === '1'
const why = refused === undefined ? '' : ` (${refused})`
const child = fileURLToPath(new URL('client-children/dropped-flows.js', import.meta.url))

test.skipIf(refused !== undefined)(
  `sessions, owner and readers whose flows are dropped in silence go on within seconds${why}`,
  async () => {
    const { code, output } = await ended(spawn('unshare', ['-n', process.execPath, child]), 90_000)
    expect(code, output).toBe(0)
    const result = JSON.parse(output.trim().split('\n').at(-1) ?? '')
    console.log(output.trim())
    // Three sessions, the owner and two readers.
    expect(result).toMatchObject({ dropped: 6, fenced: false })
    // 2.75 s, and what a busy machine adds to it. Without an end of their own the flows stood for a minute.
    expect(result.appendMs).toBeLessThan(15_000)
    expect(result.followMs).toBeLessThan(15_000)
    expect(result.goneMs).toBeLessThan(15_000)
    expect(result.idleReadMs).toBeLessThan(1_000)
  },
)

interface Outcome {
  name: string
  /** Events of the region since its flows were dropped. */
  heard: string[]
  errors?: string[]
  events?: string[]
  appendMs?: number
  statusMs?: number
  goneMs?: number
  connectedMs?: number
  lostMs?: number
  answer?: string
}

test.skipIf(refused !== undefined)(
  `an owner that lives is never lost for flows that are dropped, whichever and in whichever direction; one that is stopped is${why}`,
  async () => {
    const owners = fileURLToPath(new URL('client-children/dropped-owners.js', import.meta.url))
    const { code, output } = await ended(spawn('unshare', ['-n', process.execPath, owners]), 150_000)
    expect(code, output).toBe(0)
    const lines = output.split('\n').filter((line) => line.startsWith('{"name"'))
    const outcomes: Outcome[] = lines.map((line) => JSON.parse(line))
    console.log(lines.join('\n'))
    // Seven combinations in three directions, one of them with a shorter lease, and three with a process that does not answer.
    expect(outcomes).toHaveLength(quick ? 13 : 27)
    for (const { name, heard, lostMs, answer, errors, events, ...times } of outcomes) {
      if (name === 'stopped') {
        expect(heard, name).toEqual(['owner-lost'])
        expect(lostMs).toBeLessThan(2_500)
        continue
      }
      // A lease of half a second is too short for what a busy machine may take to connect.
      if (!name.endsWith('-500')) expect(heard, name).toEqual([])
      if (name.startsWith('blocked')) {
        expect(answer, name).toBe('appended')
        continue
      }
      expect(errors, name).toEqual([])
      expect(events?.at(-1), name).toBe('restored')
      // 2.75 s, or 3 s of the control connection, and what a busy machine adds to it.
      for (const ms of Object.values(times)) expect(ms, name).toBeLessThan(15_000)
    }
  },
  240_000,
)

test.skipIf(refused !== undefined).each(process.env.RC_LONG === '1' ? ['both', 'out', 'in'] : ['both'])(
  `work of all kinds goes on, or ends with its code, when every flow is dropped, and nothing hangs: %s${why}`,
  async (direction) => {
    const work = fileURLToPath(new URL('client-children/dropped-work.js', import.meta.url))
    const { code, output } = await ended(spawn('unshare', ['-n', process.execPath, work, direction]), 90_000)
    expect(code, output).toBe(0)
    const lines = output.split('\n').filter((line) => /^\{"(kind|dropped)/.test(line))
    console.log(lines.join('\n'))
    const said = lines.map((line) => JSON.parse(line))
    // Two of each client, one more of each region, and what joins the two ends of the link.
    expect(said.at(-1).dropped).toBeGreaterThan(20)
    expect(said.at(-1).ended, output).toBe(42)
    const kinds = said.slice(0, -1)
    expect(kinds.map(({ kind }) => kind).sort()).toEqual(
      ['append', 'close', 'follow', 'link', 'read', 'stream', 'watch', 'worker', 'write'].sort(),
    )
    for (const { kind, outcome, ms } of kinds) {
      expect(outcome, kind).toBe('done')
      expect(ms, kind).toBeLessThan(30_000)
    }
  },
)
