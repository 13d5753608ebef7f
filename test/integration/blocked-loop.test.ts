import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { builtIndex, ended, nextMessage, startChild, withFolder } from './client-support.js'

const count = 1000
const built = (file: string) => new URL(file, builtIndex).href

test(`with the unit's event loop blocked, ${count} writes, reads and durable flushes and a new data connection go on`, async () => {
  await withFolder(async (folder) => {
    const release = path.join(folder, 'release')
    const unit = startChild('blocked-unit.js', builtIndex, path.join(folder, 'pool'), release)
    const { address } = await nextMessage<{ address: string }>(unit)
    const modules = [built('control/channel.js'), built('native-loader.js')]
    const client = startChild('hammer.js', builtIndex, ...modules, address, String(count))
    expect(await nextMessage(client)).toBe('ready')
    unit.send('block')
    expect(await nextMessage(unit)).toBe('blocking')
    const blocked = nextMessage<{ blockedMs: number; released: boolean }>(unit)
    await new Promise((resolve) => setTimeout(resolve, 200))
    client.send('go')
    const finished = ended(client, 60_000)
    expect(await nextMessage(client)).toEqual({ done: true, connected: true })
    writeFileSync(release, '')
    const { blockedMs, released } = await blocked
    // The loop stood from before the first operation to after the last: only then does the claim hold.
    expect(released).toBe(true)
    expect(blockedMs).toBeLessThan(60_000)
    console.log(`the unit's event loop stood for ${blockedMs} ms`)
    expect(await finished).toMatchObject({ code: 0 })
    unit.send('stop')
    await ended(unit)
  })
}, 90_000)
