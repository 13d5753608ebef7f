// Appends numbered records to the log of region 'followed', 16 in flight, until it has done `count` or is killed.
// Talks to its parent by messages: 'ready' when the region is open, then waits for one, and the newest sequence at the end.
const [index, address, count] = process.argv.slice(2)
const { connect } = await import(index)

const client = await connect(address)
const region = await client.openRegion('followed', { mode: 'write' })
const log = region.log()
process.send('ready')
await new Promise((resolve) => process.once('message', resolve))

let number = 0
let newest = 0n
async function work() {
  while (number < Number(count)) {
    const mine = ++number
    const value = new Uint8Array(200 + (mine % 1000)).fill(mine)
    new DataView(value.buffer).setUint32(0, mine)
    const { sequence } = await log.append(value, { durability: 'visible' })
    if (sequence > newest) newest = sequence
  }
}
await Promise.all(Array.from({ length: 16 }, work))
process.send({ newest: String(newest) })
process.disconnect()
// The unit's event loop may stand, and an orderly end would wait for it.
setTimeout(() => process.exit(0), 100)
