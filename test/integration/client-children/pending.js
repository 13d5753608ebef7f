// A process, or its workers, with a call pending at any moment: node pending.js INDEX ADDRESS STYLE KINDS
//   STYLE  main: without top-level await; top-level: with it; workers: one worker for each kind
//   KINDS  names below, with commas
// Says `ready KIND` once it is at it, `settled KIND CODE` when a call has rejected, and `over KIND` when its thread ends.
import { writeSync } from 'node:fs'
import { isMainThread, Worker, workerData } from 'node:worker_threads'

const [index, address, style, names] = isMainThread ? process.argv.slice(2) : workerData
const say = (...words) => writeSync(1, `${words.join(' ')}\n`)

const payload = new Uint8Array(200_000).fill(7)
const bytes = 1024 * 1024
async function* chunks() {
  yield payload
}
const own = (name) => `${name}-${process.pid}`
const over = async (work) => {
  for (;;) await work()
}
const writer = async (connect, name, mode = 'append') => {
  const client = await connect(address)
  return client.openRegion(own(name), { mode: 'write', create: { bytes, mode } })
}

const kinds = {
  async append({ connect }, ready) {
    const log = (await writer(connect, 'append')).log()
    ready()
    await over(() => log.append(payload))
  },
  async stream({ connect }, ready) {
    const log = (await writer(connect, 'stream')).log()
    ready()
    await over(() => log.appendStream(chunks(), { bytes: payload.length }))
  },
  async write({ connect }, ready) {
    const region = await writer(connect, 'write', 'raw')
    ready()
    await over(async () => {
      await region.write(0, payload, { durability: 'visible' })
      await region.flush()
      await region.addressContext()
    })
  },
  async read({ connect }, ready) {
    const region = await writer(connect, 'read')
    const reader = region.checkpoints()
    ready()
    await over(async () => {
      await reader.all()
      await region.metadata()
      await region.read(0, 100_000)
    })
  },
  async follow({ connect }, ready) {
    const log = (await writer(connect, 'follow')).log()
    await log.append(payload)
    for await (const _ of log.follow()) ready()
  },
  async watch({ connect }, ready) {
    for await (const _ of (await connect(address)).watch('watched')) ready()
  },
  async control({ connect }, ready) {
    const client = await connect(address)
    ready()
    await over(async () => {
      await client.status()
      for await (const _ of client.regions());
    })
  },
  async open({ connect }, ready) {
    const client = await connect(address)
    ready()
    await over(async () => (await client.openRegion(own('open'), { mode: 'takeOver', create: { bytes } })).close())
  },
  async connect({ connect }, ready) {
    ready()
    await over(async () => (await connect(address)).close())
  },
  async pair({ ProcessPair }, ready) {
    const pair = new ProcessPair(address, {
      region: own('pair'),
      create: { bytes },
      async onPrimary({ log, signal }) {
        ready()
        while (!signal.aborted) await log.append(payload)
      },
    })
    await pair.run()
  },
  async standby({ connect, ProcessPair }, ready) {
    await writer(connect, 'standby')
    const pair = new ProcessPair(address, { region: own('standby'), standby: 'hot', onPrimary: async () => undefined })
    pair.addEventListener('role', ({ role }) => role === 'standby' && ready())
    await pair.run()
  },
}

async function run(kind) {
  const library = await import(index)
  try {
    await kinds[kind](
      library,
      once(() => say('ready', kind)),
    )
    say('settled', kind)
  } catch (error) {
    say('settled', kind, error.code ?? error)
  }
}

function once(work) {
  let done = false
  return () => {
    if (!done) work()
    done = true
  }
}

if (isMainThread) process.disconnect?.()
if (style === 'workers') {
  for (const kind of names.split(',')) {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: [index, address, 'top-level', kind],
      execArgv: [],
    })
    worker.on('exit', () => say('over', kind))
  }
} else {
  if (isMainThread) process.on('exit', () => say('over', names))
  if (style === 'main') run(names)
  else await run(names)
}
