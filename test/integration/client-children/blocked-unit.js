// A unit whose event loop stands: from 'block' on its thread waits until the file of the given name is there, or 60 s are over.
import { existsSync } from 'node:fs'

const [index, pool, release] = process.argv.slice(2)
const { PersistentMemoryUnit } = await import(index)
const unit = await PersistentMemoryUnit.start({
  pool: { medium: 'file', path: pool, bytes: 16 * 1024 * 1024, create: true },
})
process.on('message', (message) => {
  if (message === 'block') {
    process.send('blocking')
    // Leaves the message time to go out; after that no turn of the loop until the end.
    setTimeout(() => {
      const start = process.hrtime.bigint()
      const never = new Int32Array(new SharedArrayBuffer(4))
      while (!existsSync(release) && process.hrtime.bigint() - start < 60_000_000_000n) Atomics.wait(never, 0, 0, 10)
      const blockedMs = Number((process.hrtime.bigint() - start) / 1_000_000n)
      process.send({ blockedMs, released: existsSync(release) })
    }, 50)
  } else unit.close().then(() => process.exit(0))
})
process.send({ address: unit.address })
