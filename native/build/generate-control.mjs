// Generates src/control/generated from src/control/*.proto: buf reads the files, ts-proto writes the TypeScript.
// What has not changed is not written, so that nothing is compiled again for it.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const source = path.join(root, 'src', 'control')
const target = path.join(source, 'generated')
const require = createRequire(import.meta.url)

/** The path of a package's program; ends the process when the package is missing. */
function program(name, file) {
  try {
    return path.join(path.dirname(require.resolve(`${name}/package.json`)), file)
  } catch {
    console.error(`generate: ${name} is not installed. Run: npm ci`)
    process.exit(1)
  }
}

const buf = program('@bufbuild/buf', 'bin/buf')
const plugin = program('ts-proto', 'protoc-gen-ts_proto')

mkdirSync(path.join(root, 'build'), { recursive: true })
const staging = mkdtempSync(path.join(root, 'build', 'generate-'))
try {
  const template = {
    version: 'v2',
    plugins: [
      {
        local: [process.execPath, plugin],
        out: staging,
        opt: [
          // 64-bit numbers are bigint, maps are Map: a key called __proto__ is a key like any other.
          'forceLong=bigint',
          'useMapType=true',
          // An enum's values are the names of the .proto file, which cost no import.
          'stringEnums=true',
          'enumsAsLiterals=true',
          'outputServices=generic-definitions',
          'outputJsonMethods=false',
          'exportCommonSymbols=false',
          'importSuffix=.js',
        ],
      },
    ],
  }
  const run = spawnSync(process.execPath, [buf, 'generate', source, '--template', JSON.stringify(template)], {
    cwd: root,
    env: { ...process.env, BUF_CACHE_DIR: path.join(staging, 'cache') },
    stdio: 'inherit',
  })
  if (run.status !== 0) {
    console.error('generate: buf failed. If its program for this platform is missing, run: npm ci')
    process.exitCode = run.status ?? 1
  } else {
    const made = readdirSync(staging).filter((name) => name.endsWith('.ts'))
    mkdirSync(target, { recursive: true })
    for (const name of readdirSync(target)) if (!made.includes(name)) rmSync(path.join(target, name))
    for (const name of made) {
      const [from, to] = [path.join(staging, name), path.join(target, name)]
      if (!existsSync(to) || !readFileSync(to).equals(readFileSync(from))) renameSync(from, to)
    }
  }
} finally {
  rmSync(staging, { recursive: true, force: true })
}
