// Starts and stops units, opens and closes regions, and says what is left: descriptors, threads and resident memory, after
// a warm-up and after each of six rounds. Run with --expose-gc.
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

const unit = await start()
const client = await connect(unit.address)

async function round(units, regions) {
  for (let i = 0; i < units; i++) await unitCycle()
  for (let i = 0; i < regions; i++) await regionCycle(client)
  return await measure()
}

await round(3 * Number(unitCycles), 6 * Number(regionCycles))
const left = [await measure()]
for (let i = 0; i < 6; i++) left.push(await round(Number(unitCycles), Number(regionCycles)))
await client.close()
await unit.close()
process.send(left)
process.disconnect()
