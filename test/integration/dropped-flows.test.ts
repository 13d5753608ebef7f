// Flows of the data plane that a firewall forgets: no packet of them arrives any more, and nobody is told.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { namespacesRefused } from '../takeover/namespaces.js'
import { ended } from './client-support.js'

const refused = namespacesRefused()
const child = fileURLToPath(new URL('client-children/dropped-flows.js', import.meta.url))

test.skipIf(refused !== undefined)(
  `sessions, owner and readers whose flows are dropped in silence go on within seconds${refused === undefined ? '' : ` (${refused})`}`,
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
