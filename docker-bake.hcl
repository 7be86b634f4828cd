# The images of a release: three services, two architectures, one index each. Always named with -f, since
# bake alone would read docker-compose.yml as well:
#
#   docker buildx bake -f docker-bake.hcl              everything, into this engine's store; --load adds nothing
#   docker buildx bake -f docker-bake.hcl local        this machine's architecture
#   DEPLOY=eks docker buildx bake -f docker-bake.hcl deploy

variable "REGISTRY" {
  description = "Host of the registry, with its port; empty for Docker Hub."
  default     = ""
}

variable "NAMESPACE" {
  description = "Account or folder in the registry."
  default     = "cordn29"
  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", NAMESPACE))
    error_message = "NAMESPACE is the account in the registry, in small letters, like cordn29."
  }
}

variable "VERSION" {
  description = "Version of the images; the one in service_kit/__init__.py."
  default     = "0.4.0"
  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.]+)?$", VERSION))
    error_message = "VERSION has three numbers, like 1.2.3 or 1.2.3-rc.1."
  }
}

variable "STAGE" {
  description = "prod tags <version> and latest, dev tags <version>-dev and dev."
  default     = "prod"
  validation {
    condition     = contains(["dev", "prod"], STAGE)
    error_message = "STAGE is dev or prod."
  }
}

variable "ARCH" {
  description = "One architecture; empty for both."
  default     = ""
  validation {
    condition     = contains(["", "amd64", "arm64"], ARCH)
    error_message = "ARCH is amd64 or arm64: there are images for no other architecture."
  }
}

variable "DEPLOY" {
  description = "Where the images of the group deploy will run: lambda, eks or apprunner."
  default     = ""
  validation {
    condition     = contains(["", "lambda", "eks", "apprunner"], DEPLOY)
    error_message = "DEPLOY is lambda, eks or apprunner."
  }
  validation {
    condition     = DEPLOY == "" || ARCH == "" || ARCH == lookup(NEEDS, DEPLOY, ARCH)
    error_message = "DEPLOY and ARCH do not fit: lambda and eks run arm64, apprunner runs amd64. An image of the other architecture would end there with exec format error."
  }
}

variable "REVISION" {
  description = "The commit that is built."
  default     = "unknown"
}

variable "COMMIT_TIME" {
  description = "The commit's time: no image carries a later one, so that two builds of it are the same."
  default     = "0"
}

variable "TO" {
  description = "engine, or registry where all is pushed. Only one of them: --load and --push export a second time what is not."
  default     = "engine"
  validation {
    condition     = contains(["engine", "registry"], TO)
    error_message = "TO is engine or registry."
  }
}

variable "BASE_IMAGE" {
  description = "The base image, by digest for a release or by the name of a mirror; empty for the Dockerfile's own."
  default     = ""
}

variable "CA_CERT" {
  description = "File with a certificate that a company's proxy signs with; used in the build, not kept."
  default     = ""
}

variable "NEEDS" {
  default = {
    lambda    = "arm64"
    eks       = "arm64"
    apprunner = "amd64"
  }
}

function "repository" {
  params = [service]
  result = join("/", compact([
    REGISTRY,
    NAMESPACE,
    { crm_api = "crmsys", inventory_api = "crmsys-inventory", integration_service = "crmsys-integration" }[service],
  ]))
}

function "tags" {
  params = [service, arch]
  result = [
    for tag in(arch == "" ? [release(), STAGE == "dev" ? "dev" : "latest"] : ["${release()}-${arch}"]) :
    "${repository(service)}:${tag}"
  ]
}

function "release" {
  params = []
  result = STAGE == "dev" ? "${VERSION}-dev" : VERSION
}

function "platforms" {
  params = [arch]
  result = arch == "" ? ["linux/amd64", "linux/arm64"] : ["linux/${arch}"]
}

function "annotations" {
  params = [service, levels]
  result = [
    for pair in [
      "title=crmsys ${service}",
      "version=${VERSION}",
      "revision=${REVISION}",
      "licenses=MIT",
    ] : "${levels}:org.opencontainers.image.${pair}"
  ]
}

group "default" {
  targets = ["image"]
}

# Nothing is built, every stage is checked: docker buildx bake -f docker-bake.hcl validate
target "validate" {
  inherits = ["_common"]
  name     = "validate-${replace(stage, "_", "-")}"
  matrix   = { stage = ["crm_api", "inventory_api", "integration_service", "lambda", "dev"] }
  target   = stage
  call     = "check"
  output   = ["type=cacheonly"]
}

target "_common" {
  context    = "."
  dockerfile = "Dockerfile"
  args = {
    BASE     = BASE_IMAGE == "" ? null : BASE_IMAGE
    VERSION  = VERSION
    REVISION = REVISION
  }
  secret = CA_CERT == "" ? [] : ["id=ca,src=${CA_CERT}"]
  output = ["type=${TO == "registry" ? "image" : "docker"},oci-mediatypes=true,source-date-epoch=${COMMIT_TIME}"]
}

# What is published: an index of both architectures, or with ARCH one of them, with its provenance.
target "image" {
  inherits    = ["_common"]
  name        = "image-${replace(service, "_", "-")}"
  matrix      = { service = ["crm_api", "inventory_api", "integration_service"] }
  target      = service
  args        = { SERVICE = service }
  platforms   = platforms(ARCH)
  tags        = tags(service, ARCH)
  annotations = annotations(service, ARCH == "" ? "index,manifest" : "manifest")
  attest      = ["type=provenance,mode=max"]
}

# This machine's architecture, for a look.
target "local" {
  inherits  = ["_common"]
  name      = "local-${replace(service, "_", "-")}"
  matrix    = { service = ["crm_api", "inventory_api", "integration_service"] }
  target    = service
  args      = { SERVICE = service }
  platforms = [BAKE_LOCAL_PLATFORM]
  tags      = tags(service, "")
}

# What a place that runs one architecture gets: a plain manifest, without index or attestation. The poller
# has no place on Lambda, which runs nothing between two requests.
target "deploy" {
  inherits = ["_common"]
  name     = "${to.place}-${replace(to.service, "_", "-")}"
  matrix = {
    to = [
      for pair in setproduct(keys(NEEDS), ["crm_api", "inventory_api", "integration_service"]) :
      { place = pair[0], service = pair[1] } if join(" ", pair) != "lambda integration_service"
    ]
  }
  target = to.place == "lambda" ? "lambda" : to.service
  args = {
    SERVICE = to.service
    LOCK    = to.place == "lambda" ? "aws_lambda" : to.service
    ONLY    = NEEDS[to.place]
  }
  platforms   = platforms(NEEDS[to.place])
  tags        = ["${repository(to.service)}:${VERSION}-${to.place}"]
  annotations = annotations(to.service, "manifest")
  attest      = ["type=provenance,disabled=true"]
}

group "lambda" {
  targets = ["lambda-crm-api", "lambda-inventory-api"]
}

group "eks" {
  targets = ["eks-crm-api", "eks-inventory-api", "eks-integration-service"]
}

group "apprunner" {
  targets = ["apprunner-crm-api", "apprunner-inventory-api", "apprunner-integration-service"]
}

group "deploy" {
  targets = DEPLOY == "" ? ["lambda", "eks", "apprunner"] : [DEPLOY]
}
