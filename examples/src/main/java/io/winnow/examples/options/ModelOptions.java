package io.winnow.examples.options;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.engine.Engine;
import ai.djl.engine.StandardCapabilities;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.InvalidInputException;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.ModelLimits;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** The options of every command that runs a model. */
public class ModelOptions extends ModelFolderOptions {
  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      defaultValue = "float32",
      description = "float32, bfloat16 or float16 (default: ${DEFAULT-VALUE})")
  private String type;

  @Option(
      names = "--device",
      paramLabel = "DEVICE",
      defaultValue = "cpu",
      description = "cpu, or gpu0, gpu1, ... (default: ${DEFAULT-VALUE})")
  private String device;

  /** Returns the name of the device. */
  public String deviceName() {
    return device;
  }

  private DataType type() {
    return switch (type) {
      case "float32" -> DataType.FLOAT32;
      case "bfloat16" -> DataType.BFLOAT16;
      case "float16" -> DataType.FLOAT16;
      default ->
          throw new InvalidInputException(
              "--dtype is '" + type + "'; choose float32, bfloat16 or float16");
    };
  }

  /** Returns the device to compute on. */
  public Device device() {
    return device("--device", device);
  }

  /** Returns the device of a name that an option gives. */
  public static Device device(String option, String name) {
    if (name.equals("cpu")) {
      return Device.cpu();
    }
    if (!name.matches("gpu\\d{1,3}")) {
      throw new InvalidInputException(option + " is '" + name + "'; choose cpu, gpu0, gpu1, ...");
    }
    int number = Integer.parseInt(name.substring(3));
    Engine engine = Engine.getEngine("PyTorch");
    if (!engine.hasCapability(StandardCapabilities.CUDA)) {
      throw new InvalidInputException(
          String.format(
              "%s is '%s', but this PyTorch is built without CUDA; use %s cpu",
              option, name, option));
    }
    if (number >= engine.getGpuCount()) {
      throw new InvalidInputException(
          String.format(
              "%s is '%s', but PyTorch sees %d GPUs, counted from gpu0; use one of them, or %s cpu",
              option, name, engine.getGpuCount(), option));
    }
    return Device.gpu(number);
  }

  /** Checks these options, and the checkpoint's configuration and headers; reads no weights. */
  public ModelLimits check() {
    type();
    device();
    return ModelLimits.of(folder());
  }

  /** Returns the name of the type to compute in. */
  public String typeName() {
    return type;
  }

  /** Returns whether the type to compute in is float32. */
  public boolean isFloat32() {
    return type() == DataType.FLOAT32;
  }

  /** Loads the model; the caller closes it. */
  public Model load() {
    return load(folder(), type());
  }

  /** Loads the model in float32, whatever --dtype says. */
  public Model loadFloat32() {
    return loadFloat32(folder());
  }

  /** Loads another model in float32 on the same device. */
  public Model loadFloat32(Path folder) {
    return load(folder, DataType.FLOAT32);
  }

  private Model load(Path folder, DataType as) {
    return loader(folder, as).optProgress(new ConsoleProgress()).load();
  }

  /** Returns a loader with these options, for a model of which other parts may be wanted. */
  public MoeModels.Loader loader() {
    return loader(folder(), type());
  }

  /** Returns a loader of another folder, with the same device. */
  public MoeModels.Loader loader(Path folder, DataType as) {
    return MoeModels.loader(folder).optDataType(as).optDevice(device());
  }
}
