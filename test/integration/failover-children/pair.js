// One process of a pair: node pair.js INDEX ADDRESS OPTIONS(JSON). It counts, and saves each count. Tells its parent
//   { role, epoch, took }, { acked: count, epoch }, { seen: count } (as a standby), { state: count, epoch } (as it begins), { error }
//   { aborted: code } when its signal does, { ended } or { threw: code } when run() settles
// Commands: { handOver }, { finish }, { fail }, { stop }, { block: ms }
import { once } from 'node:events'

const [index, address, text] = process.argv.slice(2)
const { ProcessPair, json } = await import(index)
const { id, everyMs = 2, padding = 0, ...options } = JSON.parse(text)
const stop = new AbortController()
const pause = () => new Promise((resolve) => setTimeout(resolve, everyMs))
let command = {}

const pair = new ProcessPair(address, {
  identity: id,
  codec: json,
  create: { bytes: 1024 * 1024, lease: { silenceMs: 500 } },
  ...options,
  onStandby: ({ value }) => process.send({ seen: value.count }),
  async onPrimary({ state = { count: 0 }, log, epoch, signal, handOver }) {
    process.send({ state: state.count, epoch: String(epoch) })
    signal.addEventListener('abort', () => process.send({ aborted: signal.reason?.code ?? 'ABORTED' }))
    let { count } = state
    while (!signal.aborted) {
      await log.append({ count: ++count, by: id, padding: 'x'.repeat(padding) })
      process.send({ acked: count, epoch: String(epoch) })
      if (command.finish) return
      if (command.fail) throw new Error('the work failed')
      if (command.handOver) {
        command = {}
        await handOver()
        return
      }
      await pause()
    }
  },
})
for (const type of ['role', 'error']) {
  pair.addEventListener(type, (event) => {
    const { role, epoch, took, error } = event
    process.send(type === 'role' ? { role, epoch: String(epoch), took } : { error: error.code ?? String(error) })
  })
}
process.on('message', (message) => {
  command = message
  if (message.stop) stop.abort()
  if (message.block) {
    const end = performance.now() + message.block
    while (performance.now() < end);
  }
})
pair.run({ signal: stop.signal }).then(
  () => process.send({ ended: true }),
  (error) => process.send({ threw: error.code ?? error.message }),
)
await once(process, 'disconnect')
process.exit(0)
