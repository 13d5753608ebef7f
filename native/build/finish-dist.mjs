// What tsc leaves out of dist: the files beside the TypeScript (the .proto files), and the declarations once more for
// CommonJS. `require('rdma-checkpoint')` gives the same modules, as Node has done with ES modules since 20.19; TypeScript
// takes a declaration for CommonJS where the package.json above it says so.
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const [source, dist] = [path.join(root, 'src'), path.join(root, 'dist')]
const types = path.join(dist, 'types-cjs')

cpSync(source, dist, { recursive: true, filter: (name) => !name.endsWith('.ts') })
rmSync(types, { recursive: true, force: true })
for (const name of readdirSync(dist, { recursive: true }).filter((name) => name.endsWith('.d.ts'))) {
  mkdirSync(path.dirname(path.join(types, name)), { recursive: true })
  cpSync(path.join(dist, name), path.join(types, name))
}
writeFileSync(path.join(types, 'package.json'), '{ "type": "commonjs" }\n')
