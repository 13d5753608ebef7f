// An append without an answer: node gives-up.js INDEX ADDRESS. It asks for its unit to be killed, gives up and closes nothing.
import { once } from 'node:events'

const [index, address] = process.argv.slice(2)
const { connect } = await import(index)
const client = await connect(address)
const region = await client.openRegion('given up', { mode: 'write', create: { bytes: 65_536 } })
const log = region.log()
await log.append(new Uint8Array(100))
process.send('ready')
await once(process, 'message')
process.disconnect()
const { code } = await log.append(new Uint8Array(100), { timeoutMs: 300 }).catch((error) => error)
console.log(code)
