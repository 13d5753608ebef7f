// What needs nothing installed: a file that Node writes, and fdatasync for what has to be durable.
import path from 'node:path'

/** @type {import('./index.js').Contender} */
export const file = {
  name: 'file',
  kind: 'peer',
  client: new URL('file-client.js', import.meta.url),
  series: [{ name: 'file', works: ['visible', 'durable', 'read'] }],
  async start({ folder }) {
    return {
      version: process.version,
      how: 'node:fs/promises; visible is in the page cache, durable is write and fdatasync',
      setUp: { file: path.join(folder, 'file') },
      stop: async () => undefined,
    }
  },
}
