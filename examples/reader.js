// node examples/reader.js 127.0.0.1:4790
// Reads what writer.js saved, while it runs or after it has died.
import { connect, json } from 'rdma-checkpoint'

const client = await connect(process.argv[2] ?? '127.0.0.1:4790')
const region = await client.openRegion('example')
const checkpoints = region.checkpoints({ codec: json })
const latest = await checkpoints.latest()
console.log(latest ? `checkpoint ${latest.sequence}: ${JSON.stringify(latest.value)}` : 'nothing saved yet')
for (const { sequence, value } of await checkpoints.all()) console.log(sequence, value)
await client.close()
