// What tsc leaves out of dist: the files beside the TypeScript (the .proto files), and the declarations once more for
// CommonJS. `require('rdma-checkpoint')` gives the same modules, as Node has done with ES modules since 20.19; TypeScript
// takes a declaration for CommonJS where the package.json above it says so.
//
// A Uint8Array has had a type argument since TypeScript 5.7. Declarations name it by way of a function that gives one, which
// is `Uint8Array<ArrayBuffer>` there and plain `Uint8Array` to the compilers of before, from 5.4 on.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const [source, dist] = [path.join(root, 'src'), path.join(root, 'dist')]
const types = path.join(dist, 'types-cjs')

cpSync(source, dist, { recursive: true, filter: (name) => !name.endsWith('.ts') })
rmSync(types, { recursive: true, force: true })
for (const name of readdirSync(dist, { recursive: true }).filter((name) => name.endsWith('.d.ts'))) {
  mkdirSync(path.dirname(path.join(types, name)), { recursive: true })
  const text = readFileSync(path.join(dist, name), 'utf8')
  const portable = text.replaceAll('Uint8Array<ArrayBuffer>', "ReturnType<Uint8ArrayConstructor['of']>")
  if (portable !== text) writeFileSync(path.join(dist, name), portable)
  writeFileSync(path.join(types, name), portable)
}
writeFileSync(path.join(types, 'package.json'), '{ "type": "commonjs" }\n')
