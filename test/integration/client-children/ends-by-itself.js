// ends-by-itself.js INDEX ADDRESS -- has allocated memory and staging, closes, and has nothing more to do.
const [index, address] = process.argv.slice(2)
const { connect } = await import(index)
const client = await connect(address)
const region = await client.createRegion('ends', { bytes: 1024 * 1024, mode: 'append' })
await region.log().append(new Uint8Array(100_000), { durability: 'visible' })
globalThis.kept = client.allocate(100_000)
await client.close()
console.log('closed')
