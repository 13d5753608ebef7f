// Starts and stops units, opens and closes regions, and says what is left: descriptors, threads and resident memory, after
// a warm-up. Run with --expose-gc.
import { readdirSync, readFileSync } from 'node:fs'

const [index, unitCycles, regionCycles] = process.argv.slice(2)
const { connect, PersistentMemoryUnit } = await import(index)
const start = () => PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 4 * 1024 * 1024 } })

async function regionCycle(client) {
  const region = await client.openRegion('cycled', { mode: 'write', create: { bytes: 4096, mode: 'raw' } })
  await region.write(0, new Uint8Array(16))
  await region.close()
}

async function unitCycle() {
  const unit = await start()
  const client = await connect(unit.address)
  await regionCycle(client)
  await client.close()
  await unit.close()
}

async function measure() {
  for (let i = 0; i < 5; i++) {
    globalThis.gc()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const descriptors = readdirSync('/proc/self/fd').length
  const threads = readdirSync('/proc/self/task').length
  const resident = Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * 4096
  return { descriptors, threads, resident }
}

for (let i = 0; i < 5; i++) await unitCycle()
const unitsBefore = await measure()
for (let i = 0; i < Number(unitCycles); i++) await unitCycle()
const unitsAfter = await measure()

const unit = await start()
const client = await connect(unit.address)
for (let i = 0; i < Number(regionCycles); i++) await regionCycle(client)
const regionsBefore = await measure()
for (let i = 0; i < Number(regionCycles); i++) await regionCycle(client)
const regionsAfter = await measure()
await client.close()
await unit.close()
process.send({ unitsBefore, unitsAfter, regionsBefore, regionsAfter })
process.disconnect()
