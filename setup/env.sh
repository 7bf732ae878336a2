# SPDX-License-Identifier: Apache-2.0
# Sourced by activate, demo and test: environment of this checkout. Expects VLA_ROOT. Works in bash and zsh.

export VIRTUAL_ENV="$VLA_ROOT/.venv"
case ":$PATH:" in
  *":$VIRTUAL_ENV/bin:"*) ;;
  *) export PATH="$VIRTUAL_ENV/bin:$PATH" ;;
esac
unset PYTHONHOME _ROS_WHEELS_BOOTSTRAP_COMPLETE

# the wheels carry their ament index in the environment itself; where ROS was sourced before set-up, there are none
if [ -e "$VIRTUAL_ENV/share/rclpy/package.xml" ]; then
  case ":${AMENT_PREFIX_PATH:-}:" in
    *":$VIRTUAL_ENV:"*) ;;
    *) export AMENT_PREFIX_PATH="$VIRTUAL_ENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" ;;
  esac
  case ":${CMAKE_PREFIX_PATH:-}:" in
    *":$VIRTUAL_ENV:"*) ;;
    *) export CMAKE_PREFIX_PATH="$VIRTUAL_ENV${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}" ;;
  esac
fi

. "$VLA_ROOT/.state/workspace.sh"

# the stock shared-memory segment loses camera images without a word; a profile of the user's own wins
export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$VLA_ROOT/ros2_ws/src/vla_bringup/config/fastdds_shm.xml}"
export ROS_VERSION="${ROS_VERSION:-2}" ROS_DISTRO="${ROS_DISTRO:-jazzy}"
export VLA_ACTIVE="$VLA_ROOT"
