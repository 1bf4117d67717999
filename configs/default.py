"""All the knobs of the reconstruction experiment, with their defaults.

`perf` is the one group that must not change the answer; everything else
enters the run's hash. Other configs start from `get_config()` here and say
what differs.
"""

from ml_collections import ConfigDict

NOTEBOOK_RECONSTRUCTOR = dict(
  network="mlp",  # file name in informed_recon/attacks/reconstructor/networks/
  options=dict(width=1000, depth=2, activation="relu", dropout=0.0),
  optimizer="rmsprop",  # any optax optimiser
  optimizer_options=dict(decay=0.9),
  learning_rate=3e-4,  # peak of the schedule
  schedule="constant",  # constant | cosine | warmup_cosine
  epochs=200,
  batch_size=32,
  mae_weight=1.0,  # loss = mae_weight MAE + mse_weight MSE
  mse_weight=1.0,
  holdout=0.0,  # share of the shadow models kept for early stopping; 0: none
  patience=0,  # epochs without a better held-out loss; 0: never stop early
)

# The same kind of network, trained as one would today.
MLP_RECONSTRUCTOR = dict(
  NOTEBOOK_RECONSTRUCTOR,
  options=dict(width=1000, depth=2, activation="gelu", dropout=0.2),
  optimizer="adamw",
  optimizer_options=dict(weight_decay=1e-2),
  learning_rate=1e-3,
  schedule="warmup_cosine",
  epochs=60,
  batch_size=64,
  holdout=0.05,
  patience=20,
)

# Ours: the network of MLP_RECONSTRUCTOR, given the products it cannot form.
# 30 epochs instead of 60 by the held-out loss (0.0269 against 0.0277 in the
# setting of mnist_notebook).
BILINEAR_RECONSTRUCTOR = dict(MLP_RECONSTRUCTOR, network="bilinear", epochs=30)

# Better and faster where the first layer is fully connected: small features of
# it in place of all parameters, and further looks at what was drawn.
GRAM_RECONSTRUCTOR = dict(
  MLP_RECONSTRUCTOR,
  network="gram",
  options=dict(
    width=512,
    depth=2,
    rank=32,  # learned directions of the record that the trunk sees
    passes=3,  # looks at the first layer
    look=256,  # width of each but the first
    activation="gelu",
    dropout=0.2,
  ),
  epochs=30,
)

# For images: begins with the feature map it reads off the last layer. The last
# four settings may stand beside the others of any reconstructor.
CONV_RECONSTRUCTOR = dict(
  MLP_RECONSTRUCTOR,
  network="conv",
  options=dict(
    layers="",  # regular expression for the released arrays read; "": all
    sketch=4096,  # numbers a released array is projected to; 0: never
    width=512,
    depth=2,
    heads=4,  # feature maps read off
    channels=32,  # of the decoder at full size, twice as many at each halving
    blocks=1,  # residual blocks a size
    activation="gelu",
    dropout=0.2,
  ),
  perceptual_weight=0.0,  # above 0: needs the group `perceptual`
  adversarial_weight=0.0,  # of a patch discriminator
  ema=0.0,  # decay of the parameters' average, which answers; 0: none
  dtype="float32",  # of the network's products; bfloat16 on accelerators
)

# Of the group `perceptual`, in configs that want a distance between images in
# a network's features: trained on what the adversary holds, or published ones,
# which judge only where no reconstructor of the run is trained to please them.
PERCEPTUAL = dict(
  sha256="",  # of the file perf.lpips with published features; "": train some
  widths=(16, 32, 64),  # channels of the trained network's layers
  epochs=5,
  batch_size=128,
  learning_rate=1e-3,
)

# The simulation attack: of the first `targets` evaluation targets (0: of all).
SIMULATION = dict(
  targets=0,
  starts=("class_means",),  # and names of `reconstructors`
  steps=60,  # Levenberg-Marquardt steps a target, over all its candidates
  cg_steps=40,  # conjugate-gradient steps in one of them, at most
  cg_tolerance=0.03,
  optimism=0.1,  # share of a candidate's misfit that its first step may leave
  sample=0,  # fixed records that the Jacobian is made of; 0: all
  explained=0.01,  # residual at which a record counts as found
  converged=1e-4,
  prior_weight=0.0,  # of a Gaussian image prior; the variance of noise in θ
  search_keys=False,  # tries the draws that threat does not share
  search_rate=0.0,  # the learning rate is off by at most this share, and sought
)


# The attack on the stationarity of the released weights, of the first `targets`
# evaluation targets (0: of all). It needs training.l2 and a training long
# enough; or the released models are trained on for it, in float64, until the
# gradient of their own objective is at most `tolerance`.
STATIONARITY = dict(
  targets=0,
  tolerance=0.0,  # 0: the released models as they are
  l2=0.0,  # of the training on, in place of training.l2
)


def get_config(arg: str = "") -> ConfigDict:
  """The embedded MNIST sample at its full size; `:quick` is a smoke test."""
  config = ConfigDict(
    dict(
      title="Embedded MNIST sample",
      seed=0,  # of initialisation, batch order and reconstructors
      stages=("shadow", "reconstructor", "evaluate", "report"),
      data=dict(
        source="mnist_sample",  # file name in informed_recon/data/, or a path
        name="",  # source=tfds: name of the set
        path="",  # source=npz: the file
        options=dict(),  # of the source, where it has any
        shadow_classes=0,  # shadow targets are of the first so many; 0: of all
      ),
      split=dict(  # records; one seeded permutation is cut in this order
        accuracy=250,  # to measure the released model
        targets=250,  # evaluation targets
        fixed=500,  # known to the adversary
        shadow=4000,  # shadow targets, one shadow model each
        seed=42,
      ),
      threat=dict(
        shared_init=True,  # the adversary knows the initial parameters
        shared_order=True,  # and the order of the mini-batches
        # Where it does not know the initial parameters: it knows so many, of
        # which they are one; 0: none.
        initialisations=0,
      ),
      model=dict(  # the released model
        name="mlp",  # file name in informed_recon/models/, or a path
        options=dict(width=10, depth=1, activation="elu"),
      ),
      training=dict(  # of released and shadow models alike
        steps=100,
        batch_size=0,  # 0: full batch
        optimizer="sgd",  # any optax optimiser
        optimizer_options=dict(momentum=0.9),
        schedule="constant",
        learning_rate=0.1,
        # float32 | bfloat16, of the first layer. Each model is then trained as
        # its difference to a base run: for accelerators, at a loss of accuracy.
        products="float32",
        l2=0.0,  # coefficient of (l2/2)|params|^2, beside the mean loss
        ema=0.0,  # decay of the parameters' average, which is released; 0: none
        privacy=dict(  # the rest is idle where the mechanism is "none"
          mechanism="none",  # file name in informed_recon/training/mechanisms/
          clip_norm=1.0,  # largest gradient norm of one record
          noise_multiplier=1.0,  # noise over clip_norm, in every step
          epsilon=0.0,  # above 0: the noise multiplier that guarantees it
          sampling_probability=1.0,  # of a record in a step; 1: full batch
          delta=1e-5,  # at which epsilon is reported
        ),
      ),
      # How the released models were really trained, where that is not what the
      # adversary believes, which the other settings are.
      truth=dict(
        rate=1.0,  # learning rate, over the believed one
        more_steps=0,
        other_seed=False,  # of initial weights and batches
        # Both are taken from the records that no part of the split uses.
        replaced=0,  # fixed records in whose place there are others
        missing=0,  # further records that the adversary does not know of
      ),
      release=dict(  # what is published of the parameters of every model
        layers="",  # regular expression for the arrays' names; "": all
        format="float32",  # float32 | float16 | bfloat16 | int8 | int4
        pruned=0.0,  # share of each array, the smallest, set to zero
      ),
      reconstructors=dict(bilinear=BILINEAR_RECONSTRUCTOR),
      simulations=dict(),  # of the stage "simulation", each a SIMULATION
      stationarity=dict(),  # of the stage "stationarity", each a STATIONARITY
      evaluation=dict(
        fpr=(0.01,),  # false-positive rates to report the TPR at
        eta=0.01,  # fixed success threshold, per-pixel MSE
        candidates=(8, 64),  # among which to identify a target
        ridge_shadows=10_000,  # shadow models the ridge baseline uses, at most
        classifier=dict(  # the separate judge behind the KL metric
          name="mlp",
          options=dict(width=256, depth=1, activation="gelu"),
          epochs=10,
          batch_size=128,
          learning_rate=1e-3,
        ),
      ),
      perf=dict(  # nothing here may change the answer
        data_dir="",  # where TFDS sets lie; "" is TFDS_DATA_DIR or its default
        stores="",  # run whose shadow/ and released/ to share; "" is this one
        store_models=0,  # shadow models of such a store, where others use more
        chunk_models=500,  # models a chunk file; a kill can lose two
        # As training.products, with 11 bits: twice as fast on a GPU, and models
        # end within 1e-3 of what one record changes in them.
        tensorfloat32=False,
        block_mib=0,  # memory of one training block; 0: by device
        checkpoint_seconds=60.0,
        simulation_batch=16,  # targets searched for side by side
        simulation_remat=False,  # less memory, more time
        lpips="",  # file of the weights that perceptual.sha256 asks for
      ),
    )
  )
  return quick(config) if is_quick(arg) else config


def is_quick(arg: str) -> bool:
  """Parses the string after the config's name."""
  if arg not in ("", "quick"):
    raise ValueError(f"config argument must be empty or 'quick', got {arg!r}")
  return arg == "quick"


def quick(config: ConfigDict) -> ConfigDict:
  """The same experiment at a size that shows only that it runs."""
  config.title += " (quick form: shows that it runs, claims nothing)"
  config.data.update(source="digits", name="")
  config.data.options = dict()
  config.split.update(accuracy=100, targets=40, fixed=100, shadow=300)
  config.training.steps = min(config.training.steps, 20)
  config.evaluation.classifier.epochs = 2
  for spec in config.reconstructors.values():
    if "width" in spec.options:
      spec.options.width = 64
    if spec.network == "conv":
      spec.options.channels = 8
    if spec.network == "gram":
      spec.options.look = 32
    spec.epochs = 5
  if "perceptual" in config:
    config.perceptual.update(widths=(4, 8), epochs=1)
  return config
