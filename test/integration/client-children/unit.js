// A unit in a process of its own, to be killed: node unit.js INDEX LISTEN POOL (a path, or 'memory') [MIB]
const [index, listen, pool] = process.argv.slice(2)
const { PersistentMemoryUnit } = await import(index)
const bytes = Number(process.argv[5] ?? 16) * 1024 * 1024
const unit = await PersistentMemoryUnit.start({
  listen,
  pool: pool === 'memory' ? { medium: 'memory', bytes } : { medium: 'file', path: pool, bytes, create: true },
})
process.send({ address: unit.address })
process.on('disconnect', () => process.exit(0))
