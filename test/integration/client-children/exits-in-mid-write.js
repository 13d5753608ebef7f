// Ends its process while large writes are on their way.
const [index, address, name] = process.argv.slice(2)
const { connect } = await import(index)
const client = await connect(address)
const region = await client.createRegion(name, { bytes: 64 * 1024 * 1024, mode: 'raw' })
const bytes = new Uint8Array(8 * 1024 * 1024).fill(7)
for (let i = 0; i < 8; i++) region.write(i * bytes.length, bytes).catch(() => undefined)
setTimeout(() => process.exit(3), Number(process.argv[5]))
