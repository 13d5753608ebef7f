// node examples/writer.js 127.0.0.1:4790
// Saves ten checkpoints on the unit at that address. To start a unit: npx rdma-checkpoint serve
import { connect, json } from 'rdma-checkpoint'

const client = await connect(process.argv[2] ?? '127.0.0.1:4790')
const region = await client.openRegion('example', { mode: 'write', create: { bytes: 1024 * 1024 } })
const log = region.log({ codec: json })
for (let step = 1; step <= 10; step++) {
  const saved = await log.append({ step, at: new Date().toISOString() })
  console.log(`checkpoint ${saved.sequence} is ${saved.durability}`)
}
await client.close()
