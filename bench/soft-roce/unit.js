// A unit on an RDMA device, for bench/soft-roce/measure.js. Prints its address.
import { PersistentMemoryUnit } from 'rdma-checkpoint'

const unit = await PersistentMemoryUnit.start({
  pool: { medium: 'memory', bytes: 96 * 1024 * 1024 },
  data: [`${process.argv[2]}:0`],
  transport: 'verbs',
  security: { mode: 'dangerously-unauthenticated' },
  log: () => undefined,
})
console.log(unit.address)
