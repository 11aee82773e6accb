package io.winnow.core.model;

import ai.djl.Device;
import ai.djl.MalformedModelException;
import ai.djl.Model;
import ai.djl.engine.Engine;
import ai.djl.ndarray.types.DataType;
import ai.djl.util.Progress;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.decoder.DecoderReader;
import io.winnow.core.internal.decoder.LayerwiseDecoder;
import io.winnow.core.internal.decoder.ModelWriter;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.layout.CheckpointSlicer;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Loads Hugging Face checkpoint folders as DJL models, and writes them back.
 *
 * <pre>{@code
 * try (Model model = MoeModels.load(Path.of("Mixtral-8x7B"), Device.gpu())) { ... }
 * }</pre>
 */
public final class MoeModels {
  private MoeModels() {}

  /**
   * Loads a checkpoint in the type it is stored in, on DJL's default device.
   *
   * @see #loader
   */
  public static Model load(Path folder) {
    return loader(folder).load();
  }

  /**
   * Loads a checkpoint in the type it is stored in.
   *
   * @see #loader
   */
  public static Model load(Path folder, Device device) {
    return loader(folder).optDevice(device).load();
  }

  /** Returns a loader of a checkpoint folder with options. */
  public static Loader loader(Path folder) {
    return new Loader(folder);
  }

  /**
   * Writes a model that {@link #load} returned, without the experts that were removed since. The
   * tensors are copied from the folder the model was loaded from, byte for byte; those of a model
   * that was trained since are written from memory, in the type that the folder has them in.
   *
   * <p>Merges that are applied are written too. If each only prunes, or lowers the top-k, and the
   * family renormalises, stock loaders read the folder like that of a pruned model. Otherwise it
   * holds the gates as they are, router mappings beside them in float32, and merged experts; only
   * this class reads it, and another {@code model_type} ({@code winnow_} before the family's) makes
   * other loaders refuse it. A warning is logged, and {@code config.json} says so. The same holds
   * where layers have different numbers of experts.
   *
   * @param target a folder that does not exist yet; it appears when it is complete
   * @throws InvalidInputException if the target exists or cannot be written, there is too little
   *     space, the model was not loaded by this class, or the layers differ in the top-k, or merge
   *     into different numbers of experts
   */
  public static void save(Model model, Path target) {
    save(model, target, null);
  }

  /** Writes a model like {@link #save(Model, Path)}, reporting bytes to a progress listener. */
  public static void save(Model model, Path target, @Nullable Progress progress) {
    if (!(MoeModel.of(model) instanceof MoeDecoder decoder)) {
      throw new InvalidInputException(
          "Model '" + model.getName() + "' was not loaded by MoeModels and has no checkpoint");
    }
    new ModelWriter(decoder).write(target, progress);
  }

  /**
   * Says what a checkpoint holds and needs. Only {@code config.json} and the headers of the files
   * are read, and no engine is started.
   *
   * @throws InvalidInputException if the folder is no checkpoint of a supported family with experts
   */
  public static CheckpointSummary inspect(Path folder) {
    return CheckpointSummary.of(CheckpointLayout.of(Checkpoint.open(folder)));
  }

  /**
   * Writes a checkpoint with fewer experts, without loading the model.
   *
   * @param source a checkpoint folder
   * @param retained per decoder layer the experts that stay, ascending. With different numbers in
   *     them only this class reads the folder, as after {@link #save}
   * @param provenance what to note of their choice
   * @param target a folder that does not exist yet; it appears when it is complete
   * @throws InvalidInputException if the selection does not fit the model, or as in {@link #save}
   */
  public static void writePruned(
      Path source,
      Map<Integer, List<Integer>> retained,
      Provenance provenance,
      Path target,
      @Nullable Progress progress) {
    new CheckpointSlicer(CheckpointLayout.of(Checkpoint.open(source)), new TreeMap<>(retained))
        .write(target, provenance, Map.of(), progress);
  }

  /**
   * Checks that {@link #writeMasked} can write a checkpoint, before anything is computed for it.
   * Only {@code config.json} and the headers of the files are read.
   *
   * @throws InvalidInputException if the folder is no checkpoint of a supported family with
   *     experts, these are quantised, or their matrices are stored transposed ({@code gpt_oss},
   *     {@code llama4})
   */
  public static void checkMaskable(Path source) {
    new CheckpointMasker(CheckpointLayout.of(Checkpoint.open(source)));
  }

  /**
   * Writes a checkpoint in which some weights of its routed experts are zero, without loading the
   * model. Every other byte of its tensors is that of the source, and the files are as large; stock
   * loaders read them. A few rows are in memory at a time.
   *
   * @param source a checkpoint folder
   * @param mask is asked for every row of every expert once
   * @param provenance what to note of the mask
   * @param target a folder that does not exist yet; it appears when it is complete
   * @return how many weights are zero, one entry per layer with experts
   * @throws InvalidInputException as {@link #checkMaskable} does, if a weight is not finite, the
   *     mask was made for another model, or as in {@link #save}
   * @throws java.util.concurrent.CancellationException if the thread is interrupted; its
   *     interrupted status is kept
   */
  public static List<LayerSparsity> writeMasked(
      Path source,
      ExpertMask mask,
      Provenance provenance,
      Path target,
      @Nullable Progress progress) {
    return new CheckpointMasker(CheckpointLayout.of(Checkpoint.open(source)))
        .write(mask, provenance, target, progress);
  }

  /**
   * Opens a checkpoint of which one layer is in memory at a time.
   *
   * @param listener is told the name of every tensor that is read to compute with, each time
   * @throws InvalidInputException if the folder is no checkpoint of a supported family, damaged, or
   *     has no layer with experts
   */
  public static LayerwiseModel layerwise(Path folder, Consumer<String> listener) {
    CheckpointLayout layout = CheckpointLayout.of(Checkpoint.open(folder));
    return new LayerwiseDecoder(layout, Loader.storedType(layout), listener);
  }

  /** Loads a checkpoint folder as a DJL model. Not thread-safe. */
  public static final class Loader {
    /** What {@link #optJavaStepsUpTo} is set to: the copies of weights take 64 MB at most. */
    public static final long JAVA_STEPS_UP_TO = 16_000_000;

    private final Path folder;
    private @Nullable Device device;
    private @Nullable DataType type;
    private @Nullable Map<Integer, List<Integer>> retained;
    private @Nullable Provenance provenance;
    private @Nullable Progress progress;
    private boolean fused = true;
    private long javaStepsUpTo = JAVA_STEPS_UP_TO;

    private Loader(Path folder) {
      this.folder = folder;
    }

    /** Sets the device; without it, DJL's default. */
    public Loader optDevice(Device newDevice) {
      device = newDevice;
      return this;
    }

    /**
     * Sets the type to compute in: float32, float16 or bfloat16. Without it, the type that is
     * stored, which on the CPU stays in the mapped files.
     *
     * <p>Quantised weights (MXFP4 of gpt-oss, FP8 in blocks) are computed back while they are read,
     * without this setting to the type of the embedding: they take the memory of that type, in
     * bfloat16 3.8 times that of MXFP4 and twice that of FP8. What is written of the model has the
     * quantised bytes again.
     */
    public Loader optDataType(DataType newType) {
      type = newType;
      return this;
    }

    /**
     * Reads only these experts.
     *
     * @param newRetained per decoder layer the experts that stay, ascending
     */
    public Loader optRetained(Map<Integer, List<Integer>> newRetained) {
      retained = new TreeMap<>(newRetained);
      return this;
    }

    /**
     * Notes how the retained experts were chosen, for a checkpoint that is written of the model.
     */
    public Loader optProvenance(Provenance newProvenance) {
      provenance = newProvenance;
      return this;
    }

    /** Sets a listener that is told of every layer read. */
    public Loader optProgress(Progress newProgress) {
      progress = newProgress;
      return this;
    }

    /**
     * Sets whether inference runs in fused TorchScript methods, which is the default, or in the
     * plain NDArray operations that training uses (float32 only): slower, and the reference for
     * tests.
     */
    public Loader optFused(boolean newFused) {
      fused = newFused;
      return this;
    }

    /**
     * Sets up to how many elements a checkpoint may have for steps of one token to run in plain
     * Java, {@link #JAVA_STEPS_UP_TO} without this; 0 for never. PyTorch takes longer to dispatch a
     * small step's operations than to compute them.
     *
     * <p>This holds on the CPU, in float32 and bfloat16, for one sequence at a time, and models
     * whose attention and experts are like Mixtral's: grouped queries, RMS norms, no biases. Other
     * passes run in PyTorch. A step takes one thread.
     *
     * <p>The first step copies the weights to the Java heap in float32, 4 bytes for each element,
     * and so does a step with merged experts for those; beside each sequence's cache, its keys and
     * values are on the heap too. What is changed in the model's arrays afterwards is not seen,
     * except merges and {@link io.winnow.core.MoeLayerView#retain}; when training has begun, steps
     * run in PyTorch.
     *
     * @throws InvalidInputException if the number is negative
     */
    public Loader optJavaStepsUpTo(long elements) {
      if (elements < 0) {
        throw new InvalidInputException(
            "The limit of elements for steps in Java is " + elements + "; use 0 for never");
      }
      javaStepsUpTo = elements;
      return this;
    }

    /**
     * Loads the model. The caller closes it, and with it all weights.
     *
     * <p>Files that weights are mapped from must stay as they are until then: one that is cut short
     * ends the JVM when the lost part is touched.
     *
     * @throws InvalidInputException if the folder is no checkpoint of a supported family, damaged,
     *     has no layer with experts or not the retained ones, or if there is no such device
     */
    public Model load() {
      CheckpointLayout layout = CheckpointLayout.of(Checkpoint.open(folder));
      Map<Integer, List<Integer>> selection = retained == null ? everything(layout) : retained;
      CheckpointSlicer.check(layout, selection, layout.config().topK());
      DataType stored = storedType(layout); // Which demands layers with experts.
      DataType wanted = type == null ? stored : type;
      if (!fused && wanted != DataType.FLOAT32) {
        throw new InvalidInputException(
            "The plain NDArray operations compute in float32, not in " + wanted);
      }
      Telemetry.off();
      int gpus = Engine.getEngine("PyTorch").getGpuCount();
      if (device != null && device.isGpu() && device.getDeviceId() >= gpus) {
        throw new InvalidInputException(
            "There is no device "
                + device
                + " here: the engine sees "
                + gpus
                + " CUDA devices. Use the CPU, or put PyTorch for CUDA on the class path");
      }
      String name = String.valueOf(folder.toAbsolutePath().normalize().getFileName());
      Model model = Model.newInstance(name, device, "PyTorch");
      boolean loaded = false;
      try {
        boolean small = isSmall(layout);
        DecoderReader reader =
            new DecoderReader(layout, model.getNDManager(), wanted, fused, small);
        MoeDecoder decoder = reader.read(selection, progress);
        if (provenance != null) {
          provenance.warnIfOther(layout.checkpoint().digest());
          decoder.recordProvenance(provenance);
        }
        model.setBlock(decoder);
        model.setDataType(wanted);
        // Reads nothing more, but tells the model its folder.
        model.load(folder, name, Map.of("hasParameter", "false"));
        loaded = true;
        return model;
      } catch (IOException | MalformedModelException e) {
        throw new UncheckedIOException("Cannot load " + folder, new IOException(e));
      } finally {
        if (!loaded) {
          model.close();
        }
      }
    }

    private static Map<Integer, List<Integer>> everything(CheckpointLayout layout) {
      Map<Integer, List<Integer>> selection = new TreeMap<>();
      for (int layer : layout.config().sparseLayers()) {
        selection.put(layer, IntStream.range(0, layout.experts(layer)).boxed().toList());
      }
      return selection;
    }

    private boolean isSmall(CheckpointLayout layout) {
      Collection<TensorInfo> tensors = layout.checkpoint().tensors().values();
      long elements = tensors.stream().mapToLong(TensorInfo::elements).sum();
      // A tensor is copied through one buffer of Java.
      return elements <= javaStepsUpTo
          && tensors.stream().allMatch(info -> info.elements() <= Integer.MAX_VALUE / Float.BYTES);
    }

    private static DataType storedType(CheckpointLayout layout) {
      return switch (layout.computeType()) {
        case BF16 -> DataType.BFLOAT16;
        case F16 -> DataType.FLOAT16;
        default -> DataType.FLOAT32;
      };
    }
  }
}
